import numpy as np
import pytest

from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ, Utterance
from rnnt_qat.input_pipeline.joined import PAUSE_SECONDS, JoinedUtterances


class Speech:
    """Utterances whose samples all are their own number, from 1."""

    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, seconds, speakers):
        self.num_samples = np.array([round(s * SAMPLE_RATE_HZ) for s in seconds])
        self.speakers = list(speakers)
        self.ids = [f"u{i}" for i in range(len(seconds))]
        self.texts = [f"word{i}" for i in range(len(seconds))]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        audio = np.full(self.num_samples[i], i + 1, np.int16)
        return Utterance(self.ids[i], self.speakers[i], self.texts[i], audio)


def test_every_utterance_once_with_its_own_speaker_and_text():
    seconds = np.random.default_rng(0).uniform(0.5, 3.0, 60)
    corpus = Speech(seconds, ["a", "b"] * 30)
    joined = JoinedUtterances(corpus, longest_seconds=10.0)
    heard, lengths = [], []
    for i in range(len(joined)):
        utterance = joined[i]
        changes = np.flatnonzero(np.diff(utterance.audio, prepend=0))
        numbers = [int(v) - 1 for v in utterance.audio[changes] if v]
        assert utterance.text == " ".join(f"word{n}" for n in numbers) == joined.texts[i]
        assert {corpus.speakers[n] for n in numbers} == {utterance.speaker}
        assert len(utterance.audio) == joined.num_samples[i]
        pauses = (utterance.audio == 0).sum() / SAMPLE_RATE_HZ
        low, high = (bound * (len(numbers) - 1) for bound in PAUSE_SECONDS)
        assert low - 1e-3 <= pauses <= high + 1e-3
        heard += numbers
        lengths.append(len(utterance.audio) / SAMPLE_RATE_HZ)
    assert sorted(heard) == list(range(60))
    assert max(lengths) <= 10.0
    assert max(lengths) > 7.0
    assert len(joined) < 40


def test_what_is_too_long_to_join_stays_alone():
    joined = JoinedUtterances(Speech([5.0, 6.0], "aa"), longest_seconds=4.0)
    assert sorted(joined.texts) == ["word0", "word1"]


def test_the_speakers_are_read_once_however_many_there_are():
    class Counted(list):
        read = 0

        def __iter__(self):
            for speaker in super().__iter__():
                self.read += 1
                yield speaker

    corpus = Speech([1.0] * 90, "a")
    corpus.speakers = Counted(f"s{i % 30}" for i in range(90))
    JoinedUtterances(corpus, longest_seconds=4.0)
    assert corpus.speakers.read == 90


def test_a_length_that_is_none_is_refused():
    with pytest.raises(ValueError, match="joined to 0 s"):
        JoinedUtterances(Speech([1.0], "a"), longest_seconds=0)
