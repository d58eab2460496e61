import numpy as np

from rnnt_qat.input_pipeline.joined import JoinedUtterances
from rnnt_qat.input_pipeline.selected import without_texts
from tests.input_pipeline.speech import NoiseCorpus


def corpus():
    made = NoiseCorpus(6)
    made.texts = ["one", "held out", "two", "held out too", "held out", "three"]
    made.speakers = list("aabbcc")
    return made


def test_held_out_texts_are_left_out_whole_and_only_whole():
    everything = corpus()
    left = without_texts(everything, {"held out"})
    assert left.texts == ["one", "two", "held out too", "three"]
    assert left.ids == ["0-0", "0-2", "0-3", "0-5"]
    assert left.speakers == list("abbc")
    np.testing.assert_array_equal(left.num_samples, everything.num_samples[[0, 2, 3, 5]])
    np.testing.assert_array_equal(left[1].audio, everything[2].audio)


def test_what_is_left_can_be_joined():
    joined = JoinedUtterances(without_texts(corpus(), {"held out"}), longest_seconds=100.0)
    assert sorted(" ".join(joined.texts).split()) == sorted(
        ["one", "two", "held", "out", "too", "three"]
    )
