import errno
import itertools
import json
import pickle
import shutil
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile

from data.audio import to_corpus_audio
from data.corpus import CorpusBuilder, Recording
from rnnt_qat.input_pipeline.corpus import Corpus, CorpusError, open_corpus


def noise(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(-9000, 9000, 16000 + 1600 * seed).astype(np.int16)


class Noises(CorpusBuilder):
    VERSION = "1.2.0"
    DESCRIPTION = "Noise."

    def sources(self):
        return {}

    def list_recordings(self):
        import functools

        recordings = [
            Recording(
                f"id-{n}", f"spk-{n % 2}", f"text {'abcdefgh'[n]}", functools.partial(noise, n)
            )
            for n in range(8)
        ]
        return {"train": recordings[:6], "test": recordings[6:]}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    Noises(data_dir=folder, workers=1).prepare()
    return folder


def test_utterances_are_what_was_recorded(data_dir):
    corpus = open_corpus(data_dir, "noises", "train")
    assert len(corpus) == 6
    assert set(corpus.ids) == {f"id-{n}" for n in range(6)}
    for position, utterance in enumerate(corpus):
        number = int(utterance.id.removeprefix("id-"))
        np.testing.assert_array_equal(utterance.audio, noise(number))
        assert utterance.audio.dtype == np.int16
        assert utterance.duration_s == len(noise(number)) / 16000
        assert utterance.speaker == corpus.speakers[position] == f"spk-{number % 2}"
        assert utterance.text == corpus.texts[position] == f"text {'abcdefgh'[number]}"
        assert corpus.num_samples[position] == len(utterance.audio)


def test_positions(data_dir):
    corpus = open_corpus(data_dir, "noises", "train")
    assert corpus[-1].id == corpus[5].id == corpus.ids[5]
    assert corpus[np.int64(2)].id == corpus.ids[2]
    assert [u.id for u in corpus[1:5:2]] == corpus.ids[1:5:2]
    for position in (6, -7):
        with pytest.raises(IndexError):
            corpus[position]


def test_pickles_before_and_after_use(data_dir):
    corpus = open_corpus(data_dir, "noises", "test")
    for _ in range(2):
        again = pickle.loads(pickle.dumps(corpus))
        assert again.ids == corpus.ids
        np.testing.assert_array_equal(again[0].audio, corpus[0].audio)
    assert "2 utt" in repr(corpus)


def test_newest_version_unless_one_is_named(data_dir, tmp_path):
    for version in ("1.2.0", "1.10.0"):
        shutil.copytree(data_dir / "noises/1.2.0", tmp_path / "noises" / version)
    assert open_corpus(tmp_path, "noises", "train").directory.name == "1.10.0"
    assert open_corpus(tmp_path, "noises/1.2.0", "train").directory.name == "1.2.0"


def test_missing_corpus_names_the_command(tmp_path):
    with pytest.raises(CorpusError, match=r"python -m data\.prepare --corpora=librispeech"):
        open_corpus(tmp_path, "librispeech/by_speaker", "train")


def test_missing_config_and_split_name_the_choices(data_dir, tmp_path):
    for config in ("short", "long"):
        shutil.copytree(data_dir / "noises/1.2.0", tmp_path / "noises" / config / "1.2.0")
    with pytest.raises(CorpusError, match="noises/long, noises/short"):
        open_corpus(tmp_path, "noises", "train")
    with pytest.raises(CorpusError, match=r"no split 'dev'; it has test, train"):
        open_corpus(data_dir, "noises", "dev")


def rewrite_index(directory, change):
    path = directory / "index-train.jsonl"
    rows = change([json.loads(line) for line in path.read_text().splitlines()])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "holds 6 records but its index names 5"),
        (lambda rows: rows[::-1], "prepare it again"),
        (lambda rows: [row | {"num_samples": 7} for row in rows], "its index says .* of 7"),
        (lambda rows: [row | {"text": "other"} for row in rows], "its index says .*'other'"),
    ],
)
def test_an_index_that_contradicts_its_records(data_dir, tmp_path, change, message):
    directory = tmp_path / "copy"
    shutil.copytree(data_dir / "noises/1.2.0", directory)
    rewrite_index(directory, change)
    with pytest.raises(CorpusError, match=message):
        Corpus(directory, "train")[0]


@pytest.mark.parametrize("rate_hz", [8000, 11025])
def test_another_rate_is_resampled_to(data_dir, rate_hz):
    corpus, whole = (open_corpus(data_dir, "noises", "train", rate) for rate in (rate_hz, 16000))
    again = pickle.loads(pickle.dumps(corpus))
    for position, utterance in enumerate(again):
        assert len(utterance.audio) == corpus.num_samples[position]
        assert utterance.duration_s == pytest.approx(whole[position].duration_s, abs=1e-3)
        expected = to_corpus_audio(
            whole[position].audio[:, None] / np.float32(2**15), 16000, rate_hz
        )
        np.testing.assert_allclose(utterance.audio, expected, atol=1)


def test_a_rate_above_the_corpora_s_is_refused(data_dir):
    with pytest.raises(CorpusError, match=r"sample_rate_hz=24000: .* no band above 8000 Hz"):
        open_corpus(data_dir, "noises", "train", 24000)


def test_damage_is_named(data_dir, tmp_path):
    for name, content in (
        ("index-train.jsonl", b'{"id": "a"'),
        ("index-train.jsonl", b'{"id": "a"}\n'),
        ("index-train.jsonl", b"\xff\xfe"),
        ("index-train.jsonl", b""),
        ("preparation.json", b'{"language": "de", "sha256": "0"}'),
        ("preparation.json", b"[]"),
    ):
        directory = tmp_path / "copy"
        shutil.copytree(data_dir / "noises/1.2.0", directory)
        (directory / name).write_bytes(content)
        with pytest.raises(CorpusError, match="damaged"):
            Corpus(directory, "train")
        shutil.rmtree(directory)
    for change in (lambda c: c[: len(c) // 2], lambda c: c[:999] + bytes(99999), lambda c: b""):
        directory = tmp_path / "copy"
        shutil.copytree(data_dir / "noises/1.2.0", directory)
        (records,) = directory.glob("*train.array_record*")
        records.write_bytes(change(records.read_bytes()))
        with pytest.raises(CorpusError, match="prepare it again"):
            list(Corpus(directory, "train"))
        shutil.rmtree(directory)


def test_no_tensorflow(data_dir):
    import sys

    list(itertools.islice(open_corpus(data_dir, "noises", "train"), 2))
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
    "error",
    [MemoryError("8 GB"), OSError(errno.EMFILE, "open files"), PermissionError(errno.EACCES, "no")],
)
def test_what_the_machine_lacks_is_not_blamed_on_a_record(data_dir, error, monkeypatch):
    corpus = open_corpus(data_dir, "noises", "train")
    monkeypatch.setattr(soundfile, "read", Mock(side_effect=error))
    with pytest.raises(type(error)) as raised:
        corpus[0]
    assert raised.value is error
