"""The acted dialogues of a game: 2.4 hours of real, hard speech; tested on unheard characters.

Synthesized sentences of a book help, where the dialogues are too few to learn letters from.
data/uqm_voices/README.md says how to get the recordings.

python -m data.prepare --corpora=uqm_voices --uqm_debs=uqm
python -m data.prepare --corpora=synthetic_speech --synthetic_hours=4 --synthetic_texts=books
python -m experiments.train --config=experiments/configs/uqm_voices.py --workdir=workdir/uqm
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import prompts, prompts_large
from rnnt_qat.experiment.config import DataConfig, ExperimentConfig, Split
from rnnt_qat.infra.config_overrides import config_dict
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.task import FLOAT32


def experiment() -> ExperimentConfig:
    """The size of ``prompts_large``; an hour and a half on one core."""
    corpus = "uqm_voices/short"
    return dataclasses.replace(
        prompts_large.experiment(),
        data=DataConfig(
            train=(
                Split(corpus, "train", repeats=3),
                Split("synthetic_speech/books_4h", "train"),
            ),
            validation=(Split(corpus, "validation"),),
            test=(Split(corpus, "test"),),
        ),
        pipeline=PipelineConfig(
            num_buckets=5,
            batch_seconds=60.0,
            max_seconds=20.0,
            frame_multiple=4,
            augmentation=dataclasses.replace(prompts.LEVELS, speeds=(0.9, 1.0, 1.1)),
        ),
        stages=(
            TrainingStage(
                "float",
                precision=FLOAT32,
                steps=5000,
                optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=400, ema_decay=0.998),
            ),
            Calibration(batches=30),
            TrainingStage(
                "aware",
                steps=400,
                optimizer=OptimizerConfig(learning_rate=5e-4, warmup_steps=40, ema_decay=0.998),
            ),
        ),
    )


def get_config() -> ConfigDict:
    """The fields to override."""
    return config_dict(experiment())
