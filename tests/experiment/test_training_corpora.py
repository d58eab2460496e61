"""Which utterances an experiment trains on, and what is made from them before training."""

import dataclasses
import functools
import io

import numpy as np
import pytest

from data.corpus import CorpusBuilder, Recording
from experiments.configs import prompts_smoke
from rnnt_qat.experiment.config import DataConfig, ExperimentConfig, Split
from rnnt_qat.experiment.training_corpora import TrainingCorpora
from rnnt_qat.infra.console import Console
from rnnt_qat.input_pipeline.corpus import CorpusError
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer, SentencePieceTokenizer

TRAIN = ("one", "two", "three", "two")
TEST = ("two", "four")
OF_TRAINING = (Split("numbers", "train"),)


def noise(seed: int) -> np.ndarray:
    loudness = 1000 * (seed + 1)
    return np.random.default_rng(seed).integers(-loudness, loudness, 8000).astype(np.int16)


class Numbers(CorpusBuilder):
    VERSION = "1.0.0"
    DESCRIPTION = "Noise that is said to be numbers."

    def sources(self):
        return {}

    def list_recordings(self):
        def listed(split, texts):
            return [
                Recording(f"{split}{n}", "s0", text, functools.partial(noise, n))
                for n, text in enumerate(texts)
            ]

        return {"train": listed("train", TRAIN), "test": listed("test", TEST)}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    Numbers(data_dir=folder, workers=1).prepare()
    return folder


def corpora(data_dir, train=OF_TRAINING, seed=0, **data):
    """The corpora and what they say."""
    base: ExperimentConfig = prompts_smoke.experiment()
    test = (Split("numbers", "test"),)
    config = dataclasses.replace(base, data=DataConfig(train, test, test, **data), seed=seed)
    return TrainingCorpora(config, data_dir, Console(said := io.StringIO())), said


def test_splits_are_mixed_repeated_and_joined(data_dir):
    train = (Split("numbers", "train", repeats=3), Split("numbers", "test", joined_seconds=60.0))
    mixture = corpora(data_dir, train)[0].mixture
    assert sorted(mixture.texts[:4]) == sorted(TRAIN)
    assert mixture.repeats.tolist() == [3] * 4 + [1] * (len(mixture) - 4)
    (joined,) = mixture.texts[4:]
    assert sorted(joined.split()) == sorted(TEST)


def test_what_is_held_out_is_left_out_and_counted(data_dir):
    ours, said = corpora(data_dir, held_out=(Split("numbers", "test"),))
    assert sorted(ours.mixture.texts) == ["one", "three"]
    assert "numbers:train: 2 of 4 utterances say what is held out" in said.getvalue()


def test_characters_need_no_corpus_and_units_are_trained_on_it(data_dir, tmp_path):
    tokenizer = corpora(tmp_path, characters=" abc")[0].new_tokenizer()
    assert isinstance(tokenizer, CharacterTokenizer)
    assert tokenizer.characters == " abc"
    tokenizer = corpora(data_dir, sentencepiece=10)[0].new_tokenizer()
    assert isinstance(tokenizer, SentencePieceTokenizer)
    assert [tokenizer.decode(tokenizer.encode(text)) for text in TRAIN] == list(TRAIN)
    with pytest.raises(CorpusError, match="numbers"):
        corpora(tmp_path, sentencepiece=10)[0].new_tokenizer()


def test_statistics_are_of_utterances_that_the_seed_chooses(data_dir):
    def mean(seed, utterances):
        ours, _ = corpora(data_dir, seed=seed, statistics_utterances=utterances)
        return ours.measure_stats().mean

    np.testing.assert_array_equal(mean(0, 1), mean(0, 1))
    # The recordings differ in loudness, so that another choice has another mean.
    assert len({float(mean(seed, 1)[0]) for seed in range(6)}) > 1
    np.testing.assert_allclose(mean(0, 4), mean(1, 4), rtol=1e-5)
