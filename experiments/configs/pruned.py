"""The shipped recognizer pruned while it is trained through a chip: zeros against engine latency.

python -m data.prepare --corpora=asterisk_prompts,synthetic_speech
python -m experiments.train --config=experiments/configs/pruned.py:zeros_80 \
    --workdir=workdir/pruned/zeros_80
python -m experiments.export --model=workdir/pruned --output=workdir/pruned/export

Variants: ``zeros_0`` (the same steps without pruning), ``zeros_50``, ``zeros_80``, ``zeros_90``,
``columns_50``; ``w4_zeros_50`` and so on are pruned in 4 bits. ``units_25``, ``units_50`` and
``units_75`` prune whole units of all LSTMs in floating point and remove them: calibration and
training on the chip then have smaller kernels. ``export`` compares word error rates and
the compiler's latency and bytes of all models in a folder.

References: Zhu and Gupta, "To prune, or not to prune" (2017), for the schedule; Valerio et al.,
"Dynamic Hard Pruning of Neural Networks at the Edge of the Internet" (2022), for pruning while
training; Wen et al., "Learning Intrinsic Sparse Structures within Long Short-Term Memory" (2018),
for units.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

from ml_collections import ConfigDict

from experiments.configs import on_chip
from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.experiment.unit_pruning import UnitPruning
from rnnt_qat.infra.config_overrides import config_of
from rnnt_qat.training.loop import LoopConfig
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.pruning import MagnitudePruning
from rnnt_qat.training.stages import Calibration, RemoveUnits, TrainingStage
from rnnt_qat.training.task import FLOAT32

STEPS = 480
OPTIMIZER = OptimizerConfig(learning_rate=3e-4, warmup_steps=20, ema_decay=0.97)


def pruned(hook: MagnitudePruning, precision: str) -> ExperimentConfig:
    """Calibration and one stage that prunes in its first half and recovers in the second."""
    return dataclasses.replace(
        on_chip.experiment(),
        initialize_from="data/pretrained/assistant",
        precision=precision,
        stages=(
            Calibration(batches=10),
            TrainingStage(
                "aware",
                steps=STEPS,
                optimizer=OPTIMIZER,
                hooks=(hook,),
            ),
        ),
        loop=LoopConfig(log_every=20, evaluate_every=120),
    )


def without_units(share: float) -> ExperimentConfig:
    """Units are pruned in floating point and removed; the smaller network goes to the chip."""
    hook = UnitPruning(final_sparsity=share, ramp_steps=STEPS // 2, every=20)
    return dataclasses.replace(
        pruned(WEIGHTS, "ethos_u_8x8_16"),
        stages=(
            TrainingStage("prune", STEPS, FLOAT32, OPTIMIZER, hooks=(hook,)),
            RemoveUnits(),
            Calibration(batches=10),
            TrainingStage("aware", STEPS // 2, optimizer=OPTIMIZER),
        ),
    )


WEIGHTS = MagnitudePruning(ramp_steps=STEPS // 2, every=20, pattern="*_kernel")  # the LSTMs'
COLUMNS = dataclasses.replace(WEIGHTS, unit="column")


def _variants() -> Iterator[tuple[str, Callable[[], ExperimentConfig]]]:
    for prefix, precision in (("", "ethos_u_8x8_16"), ("w4_", "ethos_u_8x8_16_w4")):
        for kind, hook, shares in (
            ("zeros", WEIGHTS, (0, 50, 80, 90)),
            ("columns", COLUMNS, (50,)),
        ):
            for share in shares:
                changed = dataclasses.replace(hook, final_sparsity=share / 100)
                yield f"{prefix}{kind}_{share}", functools.partial(pruned, changed, precision)
    for share in (25, 50, 75):
        yield f"units_{share}", functools.partial(without_units, share / 100)


def get_config(variant: str = "zeros_80") -> ConfigDict:
    """The fields to override."""
    return config_of(variant, dict(_variants()))
