"""The shipped recognizer trained through a chip beside its own floating-point network.

python -m data.prepare --corpora=asterisk_prompts,synthetic_speech
python -m experiments.train --config=experiments/configs/taught.py:w2 --workdir=workdir/taught/w2
python -m experiments.train --config=experiments/configs/taught.py:w2_alone \
    --workdir=workdir/taught/w2_alone

The teacher gives targets for the hidden and cell states of the encoder and for the arcs of the
lattice; their weights fall to a tenth over the stage, so that it ends with the transducer loss.
Variants: ``w4``, ``w2``, ``crude`` (the chip ``generic_nna_crude``), each with ``_alone`` for the
same steps without a teacher.
"""

import dataclasses
import functools

from ml_collections import ConfigDict

from experiments.configs import on_chip
from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.infra.config_overrides import config_of
from rnnt_qat.objectives import LatticeDistillation, RecurrentStates
from rnnt_qat.training.loop import LoopConfig
from rnnt_qat.training.objective import Objectives, WeightedObjective
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import Calibration, TrainingStage

STEPS = 480
CHIPS = {
    "w4": "ethos_u_8x8_16_w4",
    "w2": "ethos_u_8x8_16_w2",
    "crude": "generic_nna_crude",
}


def targets() -> Objectives:
    """The teacher's targets, each with its own schedule."""

    def falling(name, objective, weight):
        return WeightedObjective(
            name, objective, weight / 10, ramp_from=weight, ramp_steps=STEPS // 2
        )

    return (
        falling("hidden", RecurrentStates("hidden"), 1.0),
        falling("cell", RecurrentStates("cell"), 0.1),
        falling("lattice", LatticeDistillation(), 1.0),
    )


def chip(precision: str, taught: bool) -> ExperimentConfig:
    """Calibration, and one stage of training through the chip."""
    whole = on_chip.experiment()
    return dataclasses.replace(
        whole,
        initialize_from="data/pretrained/assistant",
        precision=precision,
        stages=(
            Calibration(batches=10),
            TrainingStage(
                "aware",
                steps=STEPS,
                optimizer=OptimizerConfig(learning_rate=3e-4, warmup_steps=20, ema_decay=0.97),
                objectives=(*whole.objectives, *targets()) if taught else whole.objectives,
                teacher="self" if taught else "",
            ),
        ),
        loop=LoopConfig(log_every=20, evaluate_every=60),
    )


def get_config(variant: str = "w4") -> ConfigDict:
    """The fields to override."""
    taught = {name: functools.partial(chip, line, True) for name, line in CHIPS.items()}
    alone = {f"{name}_alone": functools.partial(chip, line, False) for name, line in CHIPS.items()}
    return config_of(variant, taught | alone)
