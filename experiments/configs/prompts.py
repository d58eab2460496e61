"""The main job: telephone prompts after synthetic speech, then through 8-bit integer products.

python -m data.prepare --corpora=asterisk_prompts,synthetic_speech --synthetic_hours=4
python -m experiments.train --config=experiments/configs/prompts.py --workdir=workdir/prompts
python -m experiments.evaluate --workdir=workdir/prompts

``prompts.py:synthetic_only`` leaves the recorded prompts out.
"""

import dataclasses

from ml_collections import ConfigDict

from rnnt_qat.experiment.config import DataConfig, ExperimentConfig, Split
from rnnt_qat.frontend.frontend import FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.spec_augment import SpecAugmentConfig
from rnnt_qat.infra.config_overrides import config_of
from rnnt_qat.input_pipeline.augmentation import WaveformAugmentation
from rnnt_qat.input_pipeline.config import PipelineConfig
from rnnt_qat.models.encoder import EncoderConfig
from rnnt_qat.models.prediction import LSTMPredictionConfig
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.objectives import CTC, Transducer
from rnnt_qat.training.checkpoints import CheckpointConfig
from rnnt_qat.training.loop import LoopConfig
from rnnt_qat.training.objective import WeightedObjective
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.task import FLOAT32

PROMPTS = "asterisk_prompts"
SYNTHETIC = "synthetic_speech/prompts_4h"
LEVELS = WaveformAugmentation(gain_db=(-20.0, 10.0), offset=0.002)
"""Quiet recordings, recordings cut off at full scale, and an offset of cheap microphones."""


def experiment() -> ExperimentConfig:
    """About 1.2 M parameters, a few thousand updates; `make demo` says what it reaches."""
    return ExperimentConfig(
        data=DataConfig(
            # Most recorded prompts last a second or two, but half of the test's audio is in menus
            # of 12 to 25 s: prompts joined to such lengths are trained on as well.
            train=(
                Split(PROMPTS, "train", repeats=3),
                Split(PROMPTS, "train", repeats=3, joined_seconds=24.0),
                Split(SYNTHETIC, "train"),
            ),
            validation=(Split(PROMPTS, "validation"), Split(SYNTHETIC, "validation")),
            test=(Split(PROMPTS, "test"), Split(SYNTHETIC, "test")),
        ),
        # Masks for minutes of training, not for days.
        spec_augment=SpecAugmentConfig(
            freq_mask_bins=10, max_time_masks=2, time_mask_fraction=0.05
        ),
        # 20 ms frames, halved to 40 ms before the first layer: every layer runs at 25 Hz.
        # At deviation 1, 18 % of the first layer's gate inputs leave the range of 16-bit gates.
        frontend=FrontendConfig(log_mel=LogMelConfig(num_mel_bins=64), stack=2, deviation=0.4),
        model=RNNTConfig(
            vocabulary=29,
            encoder=EncoderConfig(
                num_layers=2,
                hidden_size=256,
                layers_before_reduction=0,
                time_reduction=2,
                dropout_rate=0.05,
            ),
            prediction=LSTMPredictionConfig(embedding_size=64, hidden_size=128, dropout_rate=0.05),
            joint_size=160,
        ),
        objectives=(
            WeightedObjective("transducer", Transducer()),
            WeightedObjective("ctc", CTC(), 0.5),
        ),
        pipeline=PipelineConfig(
            num_buckets=5,
            batch_seconds=50.0,
            max_seconds=25.0,
            frame_multiple=4,
            augmentation=LEVELS,
        ),
        stages=(
            TrainingStage(
                "float",
                precision=FLOAT32,
                steps=3000,
                optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=200, ema_decay=0.998),
            ),
            Calibration(batches=20),
            TrainingStage(
                "aware",
                steps=400,
                optimizer=OptimizerConfig(learning_rate=2e-4, warmup_steps=40, ema_decay=0.998),
            ),
        ),
        loop=LoopConfig(log_every=50, evaluate_every=1000, checkpoint=CheckpointConfig(every=500)),
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
