"""A recognizer of your own folder of speech, for Arm Ethos-U; TUTORIAL.md goes through it.

python -m data.prepare --corpora=librispeech --librispeech_dir=speech
python -m experiments.train --config=experiments/configs/own_speech.py --workdir=workdir/own

``own_speech.py:quick`` is a minute of the same code, which learns nothing.
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import prompts, prompts_smoke
from rnnt_qat.experiment.config import DataConfig, ExperimentConfig, Split
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.infra.config_overrides import config_dict

CORPUS = "librispeech/by_speaker"
DATA = DataConfig(
    train=(Split(CORPUS, "train"),),
    validation=(Split(CORPUS, "validation"),),
    test=(Split(CORPUS, "test"),),
)


def experiment(size: str = "") -> ExperimentConfig:
    """The demo's recipe on your folder; ``quick`` for a trial of a minute."""
    if size not in ("", "quick"):
        raise ConfigError(f"own_speech.py:{size}: own_speech.py or own_speech.py:quick")
    base = prompts_smoke.experiment() if size else prompts.experiment()
    data = dataclasses.replace(DATA, statistics_utterances=50) if size else DATA
    return dataclasses.replace(base, data=data, precision="ethos_u_8x8_16")


def get_config(size: str = "") -> ConfigDict:
    """The fields to override."""
    return config_dict(experiment(size))
