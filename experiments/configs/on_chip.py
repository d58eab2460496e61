"""The main job: a shipped recognizer on a chip, calibrated and trained through it, in minutes.

python -m data.prepare --corpora=asterisk_prompts,synthetic_speech
python -m experiments.sweep --models=data/pretrained/assistant \
    --config=experiments/configs/on_chip.py --policies=w8a8,ethos_u_8x8_16 --export=u55-128 \
    --workdir=workdir/demo

``on_chip.py:synthetic_only`` leaves the recorded prompts out.
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import assistant, prompts
from rnnt_qat.experiment.config import DataConfig, ExperimentConfig, Split
from rnnt_qat.infra.config_overrides import config_of
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
            TrainingStage("float", precision=FLOAT32),  # a sweep leaves it out
            Calibration(batches=10),
            TrainingStage(
                "aware",
                steps=120,
                optimizer=OptimizerConfig(learning_rate=2e-4, warmup_steps=20, ema_decay=0.99),
            ),
        ),
    )


def synthetic_only() -> ExperimentConfig:
    """The same without recorded speech."""
    data = DataConfig(
        train=(Split(SYNTHETIC, "train"),),
        validation=(Split(SYNTHETIC, "validation"),),
        test=(Split(SYNTHETIC, "test"),),
    )
    return dataclasses.replace(experiment(), data=data)


def get_config(variant: str = "experiment") -> ConfigDict:
    """The fields to override."""
    return config_of(variant, {"experiment": experiment, "synthetic_only": synthetic_only})
