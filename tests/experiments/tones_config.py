"""A config file of a tiny model on a corpus of tones, for the binaries."""

import dataclasses

from experiments.configs import prompts_smoke
from rnnt_qat.experiment.config import DataConfig, Split
from rnnt_qat.infra.config_overrides import config_dict

CORPUS = "librispeech/by_speaker"


def experiment():
    """A few steps of a model that learns nothing."""
    return dataclasses.replace(
        prompts_smoke.experiment(),
        data=DataConfig(
            train=(Split(CORPUS, "train"),),
            validation=(Split(CORPUS, "validation"),),
            test=(Split(CORPUS, "test"),),
            statistics_utterances=3,
        ),
    )


def get_config():
    """The fields to override."""
    return config_dict(experiment())
