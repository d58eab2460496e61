"""An experiment on corpora of another language, and with a frontend of another sample rate."""

import dataclasses
import functools

import numpy as np
import pytest

from data.corpus import CorpusBuilder, Recording
from data.languages import LANGUAGES
from experiments.configs import prompts_smoke
from rnnt_qat.experiment.config import DataConfig, ExperimentConfig, Split
from rnnt_qat.experiment.recognizer import make_evaluator
from rnnt_qat.experiment.runner import Experiment
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.input_pipeline.corpus import LETTERS, CorpusError
from rnnt_qat.input_pipeline.tokenizer import CharacterTokenizer
from rnnt_qat.quant.policies import FLOAT32

WORDS = {"de": "größe und straße", "ru": "ёлка и чай", "en": "some words"}


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, 16000).astype(np.int16)


class Noises(CorpusBuilder):
    VERSION = "1.0.0"
    DESCRIPTION = "Noise."

    def sources(self):
        return {}

    def list_recordings(self):
        text = WORDS[self.language.code]
        listed = [Recording(f"id{n}", f"s{n}", text, functools.partial(noise, n)) for n in range(4)]
        return {"train": listed}


def experiment(tmp_path, language="en", rate_hz=16000, characters=LETTERS) -> Experiment:
    Noises(data_dir=tmp_path, workers=1, language=LANGUAGES[language]).prepare()
    base: ExperimentConfig = prompts_smoke.experiment()
    split = Split("noises", "train")
    log_mel = dataclasses.replace(
        base.frontend.log_mel,
        sample_rate_hz=rate_hz,
        high_hz=rate_hz / 2,
        low_hz=100.0,
        fft_size=1024,
    )
    config = dataclasses.replace(
        base,
        data=DataConfig((split,), (split,), (split,), characters=characters),
        model=dataclasses.replace(base.model, vocabulary=len(characters) + 1),
        frontend=dataclasses.replace(base.frontend, log_mel=log_mel),
    )
    return Experiment(config, tmp_path, tmp_path / "work")


@pytest.mark.parametrize("language", ["de", "ru"])
def test_the_character_set_is_the_configs_and_must_spell_the_corpus(tmp_path, language):
    letters = LANGUAGES[language].characters
    ours = experiment(tmp_path, language, characters=letters)
    labels = ours.tokenizer.encode(WORDS[language])
    assert ours.tokenizer.decode(labels) == WORDS[language]
    with pytest.raises(ConfigError, match=rf"lacks '.*' of noises:train \(language {language}\)"):
        _ = experiment(tmp_path, language).tokenizer


def test_a_frontend_of_8_khz_hears_the_corpus_at_8_khz(tmp_path):
    ours = experiment(tmp_path, rate_hz=8000)
    assert ours.training_data.num_samples.tolist() == [8000] * 4
    bins = ours.config.frontend.log_mel.num_mel_bins
    stats = FeatureStats(np.zeros(bins, np.float32), np.ones(bins, np.float32))
    evaluator = make_evaluator(
        ours.config,
        ours.config.evaluation,
        FLOAT32,
        Frontend(ours.config.frontend, stats),
        CharacterTokenizer(),
        ours.config.data.test[0],
        tmp_path,
    )
    lengths = {int(n) for batch in evaluator._batches for n in batch.audio_lengths}
    assert lengths - {0} == {8000}


def test_a_frontend_of_24_khz_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="sample_rate_hz=24000: corpora are kept at 16000 Hz"):
        _ = experiment(tmp_path, rate_hz=24000).training_data
