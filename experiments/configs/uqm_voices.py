"""The acted dialogues of a game: 2.4 hours of real, hard speech; tested on unheard characters.

data/uqm_voices/README.md says how to get the recordings.

python -m data.prepare --corpora=uqm_voices --uqm_debs=uqm
python -m experiments.train --config=experiments/configs/uqm_voices.py --workdir=workdir/uqm
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import librispeech
from rnnt_qat.config import config_dict
from rnnt_qat.experiment_config import DataConfig, ExperimentConfig, Split


def experiment() -> ExperimentConfig:
    """The small LibriSpeech experiment on other speech; an hour and more on two cores."""
    corpus = "uqm_voices/short"
    return dataclasses.replace(
        librispeech.by_speaker(),
        data=DataConfig(
            train=(Split(corpus, "train"),),
            validation=(Split(corpus, "validation"),),
            test=(Split(corpus, "test"),),
        ),
    )


def get_config() -> ConfigDict:
    """The fields to override."""
    return config_dict(experiment())
