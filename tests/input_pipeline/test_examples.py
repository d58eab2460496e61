import numpy as np
import pytest

from rnnt_qat.input_pipeline.examples import all_examples, feasible_examples
from rnnt_qat.input_pipeline.mixture import Mixture
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer, TokenizerError
from tests.input_pipeline.speech import NoiseCorpus

LIMITS = {"max_samples": 80_000, "max_labels_per_sample": 40 / 16_000}


def flawed():
    corpus = NoiseCorpus(8)
    corpus.num_samples[:] = 16_000
    corpus.texts = ["hello"] * 8
    corpus.num_samples[1] = 0
    corpus.num_samples[2] = corpus.num_samples[7] = 90_000
    corpus.texts[3] = " "
    corpus.texts[4] = "route 66"
    corpus.texts[5] = "a" * 41
    return corpus


def test_infeasible_utterances_are_counted_by_cause_with_an_example():
    examples, skipped = feasible_examples(flawed(), CharacterTokenizer(), **LIMITS)
    assert examples.utterance.tolist() == [0, 6]
    assert skipped.total == 8
    assert skipped.counts == {
        "without audio": 1,
        "longer than pipeline.max_seconds": 2,
        "without transcript": 1,
        "with unknown characters": 1,
        "above pipeline.max_labels_per_second": 1,
    }
    assert skipped.first["longer than pipeline.max_seconds"] == "0-2: 90000 samples > 80000"
    assert "skipped 6 of 8 utterances" in str(skipped)
    assert "0-4: transcript 'route 66' has unknown characters: ['6']" in str(skipped)


def test_nothing_left_is_an_error_that_says_why():
    corpus = flawed()
    corpus.texts = [""] * 8
    with pytest.raises(ValueError, match="no utterance can be trained on: skipped 8 of 8"):
        feasible_examples(corpus, CharacterTokenizer(), **LIMITS)


def test_a_mixture_repeats_and_reads_the_right_corpus():
    one, two = NoiseCorpus(5, seed=1), NoiseCorpus(3, seed=2)
    mixture = Mixture([one, two], [1, 3])
    assert len(mixture) == 8
    assert mixture.ids == one.ids + two.ids
    for i in range(8):
        expected = one[i] if i < 5 else two[i - 5]
        np.testing.assert_array_equal(mixture[i].audio, expected.audio)
        assert len(mixture[i].audio) == mixture.num_samples[i]
    with pytest.raises(IndexError):
        mixture[8]
    limits = {"max_samples": 10**6, "max_labels_per_sample": 1}
    examples, skipped = feasible_examples(mixture, CharacterTokenizer(), **limits)
    assert not skipped.counts
    assert np.bincount(examples.utterance).tolist() == [1] * 5 + [3] * 3
    assert [CharacterTokenizer().decode(labels) for labels in examples.labels] == [
        mixture.texts[i] for i in examples.utterance
    ]


@pytest.mark.parametrize("repeats", [[1], [1, 0], [1, 1.5]])
def test_impossible_repeats_are_refused(repeats):
    with pytest.raises(ValueError, match="repeats"):
        Mixture([NoiseCorpus(1), NoiseCorpus(1)], repeats)


def test_evaluation_leaves_nothing_out_and_names_what_it_cannot_spell():
    with pytest.raises(TokenizerError, match="utterance 0-3: empty transcript"):
        all_examples(flawed(), CharacterTokenizer())
