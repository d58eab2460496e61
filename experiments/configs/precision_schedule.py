"""Weights of the shipped recognizer in 8, 6, 4 and then 2 bits on a chip, against 2 bits at once.

python -m data.prepare --corpora=asterisk_prompts,synthetic_speech
python -m experiments.train --config=experiments/configs/precision_schedule.py \
    --workdir=workdir/schedule
python -m experiments.train --config=experiments/configs/precision_schedule.py:at_once \
    --workdir=workdir/at_once
python -m benchmarks.bit_operations --config=experiments/configs/precision_schedule.py \
    --workdir=workdir/schedule

``precision_schedule.py:by_error`` begins the next width when two evaluations have not lowered the
validation WER, and ``precision_schedule.py:products`` lowers weights and activations of the matrix
products alone, whose formats no chip fixes.

Reference: Fu et al., "FracTrain: Fractionally Squeezing Bit Savings Both Temporally and Spatially
for Efficient DNN Training" (2020), section 3.1: progressive precision.
"""

import dataclasses
from collections.abc import Sequence

from ml_collections import ConfigDict

from experiments.configs import on_chip
from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.infra.config_overrides import config_of
from rnnt_qat.training.loop import LoopConfig
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import Calibration, Stage, TrainingStage

CHIP = ("ethos_u_8x8_16", "ethos_u_8x8_16_w6", "ethos_u_8x8_16_w4", "ethos_u_8x8_16_w2")
PRODUCTS = ("w8a8", "w6a6", "w4a4")
TOTAL_STEPS = 480


def schedule(precisions: Sequence[str], patience: int = 0) -> ExperimentConfig:
    """Equal numbers of steps in each precision, each calibrated anew.

    Args:
      precisions: policies in order; the last is the chip's.
      patience: see ``TrainingStage.patience``.
    """
    stages: list[Stage] = []
    for number, precision in enumerate(precisions):
        stages += [
            Calibration(f"calibration_{number}", batches=10, precision=precision),
            TrainingStage(
                f"aware_{number}",
                steps=TOTAL_STEPS // len(precisions),
                precision=precision,
                optimizer=OptimizerConfig(learning_rate=3e-4, warmup_steps=10, ema_decay=0.97),
                patience=patience,
            ),
        ]
    return dataclasses.replace(
        on_chip.experiment(),
        initialize_from="data/pretrained/assistant",
        precision=precisions[-1],
        stages=tuple(stages),
        loop=LoopConfig(log_every=20, evaluate_every=30 if patience else 120),
    )


def get_config(variant: str = "experiment") -> ConfigDict:
    """The fields to override."""
    return config_of(
        variant,
        {
            "experiment": lambda: schedule(CHIP),
            "at_once": lambda: schedule(CHIP[-1:]),
            "by_error": lambda: schedule(CHIP, patience=2),
            "products": lambda: schedule(PRODUCTS),
            "products_at_once": lambda: schedule(PRODUCTS[-1:]),
        },
    )
