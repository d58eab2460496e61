"""A shipped recognizer on a chip: calibrated and trained on telephone prompts, in minutes.

python -m data.prepare --corpora=asterisk_prompts,synthetic_speech
python -m experiments.sweep --models=data/pretrained/assistant \
    --config=experiments/configs/on_chip.py --workdir=workdir/on_chip
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import assistant, prompts
from rnnt_qat.experiment.config import DataConfig, ExperimentConfig, Split
from rnnt_qat.infra.config import config_dict
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.task import FLOAT32

SYNTHETIC = "synthetic_speech/prompts_1.2h"


def experiment() -> ExperimentConfig:
    """The shipped recognizer's sizes; prompts and an hour of synthetic speech."""
    return dataclasses.replace(
        assistant.experiment(),
        data=DataConfig(
            train=(
                Split(prompts.PROMPTS, "train", repeats=2),
                Split(prompts.PROMPTS, "train", joined_seconds=16.0),
                Split(SYNTHETIC, "train"),
            ),
            validation=(Split(prompts.PROMPTS, "validation"),),
            test=(Split(prompts.PROMPTS, "test"), Split(SYNTHETIC, "test")),
        ),
        # Two shapes: most of these minutes are compilation.
        pipeline=PipelineConfig(
            num_buckets=2,
            batch_seconds=60.0,
            max_seconds=17.0,
            frame_multiple=4,
            augmentation=prompts.LEVELS,
        ),
        stages=(
            TrainingStage(
                "float",
                precision=FLOAT32,
            ),  # a sweep leaves it out
            Calibration(batches=10),
            TrainingStage(
                "aware",
                steps=120,
                optimizer=OptimizerConfig(learning_rate=2e-4, warmup_steps=20, ema_decay=0.99),
            ),
        ),
    )


def get_config() -> ConfigDict:
    """The fields to override."""
    return config_dict(experiment())
