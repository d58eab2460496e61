import numpy as np
import pytest

from rnnt_qat.input_pipeline.chosen import Chosen, divided, sampled


class Corpus:
    speakers = ("a", "b", "a", "a", "a", "b")
    ids = texts = tuple("uvwxyz")
    num_samples = np.array([4, 4, 3, 3, 2, 4])
    sample_rate_hz = 1

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return self.ids[index]


def test_chosen_utterances_keep_their_texts_and_lengths():
    chosen = Chosen(Corpus(), (3, 0))
    assert (chosen.ids, list(chosen), len(chosen)) == (["x", "u"], ["x", "u"], 2)
    assert chosen.num_samples.tolist() == [3, 4]


def test_a_sample_is_random_and_no_longer_than_asked():
    found = {sampled(Corpus(), 9, seed).positions for seed in range(20)}
    assert len(found) > 10
    assert all(sum(Corpus.num_samples[list(positions)]) <= 9 for positions in found)
    assert sorted(sampled(Corpus(), 20).positions) == list(range(6))


def test_speech_is_divided_by_speaker_and_duration():
    speech, rest = divided(Corpus(), 8, "a", seed=1)
    assert sorted((*speech.positions, *rest.positions)) == [0, 2, 3, 4]
    assert 0 < sum(speech.num_samples) <= 8
    assert len({divided(Corpus(), 8, "a", seed)[0].positions for seed in range(9)}) > 1
    with pytest.raises(ValueError, match="no speaker 'c'"):
        divided(Corpus(), 8, "c")
    with pytest.raises(ValueError, match="longer than 1 s"):
        divided(Corpus(), 1)
