import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_qat.input_pipeline.tokenizer import (
    LETTERS,
    CharacterTokenizer,
    SentencePieceTokenizer,
    TokenizerError,
    load_tokenizer,
)

SENTENCE = (
    "press one for the directory or two to leave a message please enter your number followed by "
    "pound it's busy try again later thank you for calling goodbye quick jazz oxen have vowels"
)
TEXTS = [" ".join(random.Random(i).choices(SENTENCE.split(), k=6)) for i in range(400)]
SENTENCEPIECE = SentencePieceTokenizer.train(TEXTS, 50)
TOKENIZERS = [CharacterTokenizer(), SENTENCEPIECE]
both = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["characters", "sentencepiece"])
words = st.text(sorted(set(LETTERS) - {" "}), min_size=1, max_size=8)


@both
@settings(deadline=None)
@given(st.lists(words, min_size=1, max_size=8).map(" ".join))
def test_decoding_undoes_encoding_and_the_blank_is_never_a_label(tokenizer, text):
    labels = tokenizer.encode(text)
    assert all(0 < label < tokenizer.vocab_size for label in labels)
    assert tokenizer.decode(labels) == text
    assert "".join(map(tokenizer.piece, labels)).strip() == text


@both
def test_bad_transcripts_and_labels_are_named(tokenizer):
    with pytest.raises(TokenizerError, match="empty transcript"):
        tokenizer.encode(" ")
    with pytest.raises(TokenizerError, match=r"'route 66\?' has unknown characters: \['6', '\?'\]"):
        tokenizer.encode("route 66?")
    for label in (0, -1, tokenizer.vocab_size):
        with pytest.raises(TokenizerError, match=rf"label {label} is not in"):
            tokenizer.decode([label])


@pytest.mark.parametrize(
    ("tokenizer", "name"), zip(TOKENIZERS, ["units.json", "units.model"], strict=True)
)
def test_file_round_trip(tmp_path, tokenizer, name):
    tokenizer.save(tmp_path / name)
    loaded = load_tokenizer(tmp_path / name)
    assert type(loaded) is type(tokenizer)
    assert loaded.vocab_size == tokenizer.vocab_size
    assert [loaded.encode(t) for t in TEXTS] == [tokenizer.encode(t) for t in TEXTS]
    with pytest.raises(TokenizerError, match="must end in"):
        tokenizer.save(tmp_path / "units.txt")


def test_character_labels_are_counted_from_one_in_order():
    tokenizer = CharacterTokenizer()
    assert tokenizer.vocab_size == 29
    assert tokenizer.encode("a z'") == [3, 1, 28, 2]
    with pytest.raises(TokenizerError, match="distinct"):
        CharacterTokenizer("aa")


def test_sentencepiece_has_the_size_asked_and_is_deterministic(tmp_path):
    assert SENTENCEPIECE.vocab_size == 50
    for path in (tmp_path / "a.model", tmp_path / "b.model"):
        SentencePieceTokenizer.train(TEXTS, 50).save(path)
    assert (tmp_path / "a.model").read_bytes() == (tmp_path / "b.model").read_bytes()


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        (TEXTS, 5000, "vocab_size=5000.*<= "),
        (TEXTS, 10, "required_chars"),
        ([], 50, "no transcripts"),
    ],
)
def test_an_impossible_vocabulary_says_why(texts, size, message):
    with pytest.raises(TokenizerError, match=message):
        SentencePieceTokenizer.train(texts, size)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", "{"),
        ("b.json", "[]"),
        ("c.json", '{"characters": ""}'),
        ("d.model", "x"),
        ("f.json", '{"characters": 5}'),
        ("g.json", '{"characters": ["ab", "c"]}'),
        ("h.json", '{"characters": "a\\t"}'),
        ("e", ""),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(TokenizerError, match=name):
        load_tokenizer(tmp_path / name)
    with pytest.raises(TokenizerError, match="does not exist"):
        load_tokenizer(tmp_path / "missing.model")


def trained_elsewhere(tmp_path, texts=TEXTS, **options):
    import sentencepiece

    (tmp_path / "texts").write_text("\n".join(texts))
    sentencepiece.SentencePieceTrainer.Train(
        input=str(tmp_path / "texts"),
        model_prefix=str(tmp_path / "m"),
        minloglevel=2,
        **{"unk_id": 0, "bos_id": -1, "eos_id": -1, "pad_id": -1} | options,
    )
    return tmp_path / "m.model"


def test_a_model_with_byte_fallback_is_refused(tmp_path):
    path = trained_elsewhere(tmp_path, vocab_size=300, byte_fallback=True)
    with pytest.raises(TokenizerError, match=r"m\.model: .*byte fallback"):
        load_tokenizer(path)


def test_what_is_not_read_back_is_not_encoded(tmp_path):
    both_cases = [*TEXTS, *(text.upper() for text in TEXTS)]
    path = trained_elsewhere(tmp_path, both_cases, vocab_size=70, user_defined_symbols=["\u00e9"])
    tokenizer = load_tokenizer(path)
    assert tokenizer.decode(tokenizer.encode("press one")) == "press one"
    with pytest.raises(TokenizerError, match="not read back"):
        tokenizer.encode("press  one")


def test_other_alphabets(tmp_path):
    for characters, text in (
        (" 'abcdefghijklmnopqrstuvwxyz\u00e4\u00f6\u00fc\u00df", "gr\u00fc\u00dfe aus k\u00f6ln"),
        (" 'абвгдежзийклмнопрстуфхцчшщъыьэюяё", "съешь ещё этих булок"),
    ):
        tokenizer = CharacterTokenizer(characters)
        tokenizer.save(tmp_path / "units.json")
        again = load_tokenizer(tmp_path / "units.json")
        assert again.decode(again.encode(text)) == text
        with pytest.raises(TokenizerError, match="unknown characters"):
            CharacterTokenizer().encode(text)
    units = SentencePieceTokenizer.train(["съешь ещё этих", "мягких булок"] * 20, 22)
    assert units.decode(units.encode("мягких булок")) == "мягких булок"


def test_a_model_with_control_units_is_refused(tmp_path):
    import sentencepiece

    (tmp_path / "texts").write_text("\n".join(TEXTS))
    sentencepiece.SentencePieceTrainer.Train(
        input=str(tmp_path / "texts"),
        model_prefix=str(tmp_path / "m"),
        vocab_size=50,
        minloglevel=2,
    )
    with pytest.raises(TokenizerError, match="no bos, eos or pad"):
        load_tokenizer(tmp_path / "m.model")
