import random

import numpy as np

from data.connected_digits.builder import ConnectedDigits
from data.connected_digits.joined import EDGE_S, LENGTHS, PAUSE_S, JoinedDigits, draw_strings
from data.spoken_digits.folder import DIGITS, FolderDigits
from data.synthetic_speech.plan import TEST_FRACTION, VALIDATION_FRACTION
from data.synthetic_speech.sentences import split_of
from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ, open_corpus
from tests.data.conftest import write_chapter


def test_strings_are_split_as_synthetic_sentences_are(tmp_path):
    for speaker in ("1", "2", "3", "4"):
        write_chapter(tmp_path / "digits", speaker, "1", [digit.upper() for digit in DIGITS])

    def prepare(data_dir):
        made = ConnectedDigits(
            data_dir=data_dir,
            source=FolderDigits(tmp_path / "digits"),
            strings=5,
            test_speakers=["3"],
            workers=1,
        )
        made.prepare()
        return [open_corpus(data_dir, "connected_digits", s) for s in ("train", "test")]

    train, test = prepare(tmp_path / "a")
    assert set(test.speakers) == {"3"}
    assert "3" not in train.speakers
    assert (len(train), len(test)) == (10, 5)
    for split, corpus in (("train", train), ("test", test)):
        for text in corpus.texts:
            assert split_of(text, VALIDATION_FRACTION, TEST_FRACTION) == split
            assert len(text.split()) in LENGTHS
            assert set(text.split()) <= set(DIGITS)
    again, _ = prepare(tmp_path / "b")
    assert again.texts == train.texts
    np.testing.assert_array_equal(again[3].audio, train[3].audio)


def test_digits_lie_one_after_the_other_with_the_drawn_silence():
    parts = [np.full(100 * (n + 1), n + 1, np.int16) for n in range(3)]
    joined = JoinedDigits.draw([lambda p=p: p for p in parts], random.Random(0))
    before, *between, after = (n / SAMPLE_RATE_HZ for n in joined.silences)
    for seconds, (low, high) in ((before, EDGE_S), (after, EDGE_S), (between[0], PAUSE_S)):
        assert low <= seconds <= high
    audio = joined()
    assert len(audio) == 600 + sum(joined.silences)
    np.testing.assert_array_equal(audio[audio != 0], np.concatenate(parts))


def test_a_split_gets_its_strings_only():
    strings = list(draw_strings(DIGITS, "test", 20, random.Random(1)))
    assert len(strings) == 20
    assert {split_of(" ".join(s), VALIDATION_FRACTION, TEST_FRACTION) for s in strings} == {"test"}
