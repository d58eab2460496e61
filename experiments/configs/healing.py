"""Ways to train the shipped recognizer through chips that hurt: what each of them is worth.

python -m data.prepare --corpora=asterisk_prompts,synthetic_speech
for v in crude_plain crude_unit_slope crude_annealed crude_small_cells w2_plain w2_lsq; do
  python -m experiments.train --config=experiments/configs/healing.py:$v \
      --workdir=workdir/healing/$v
done
python -m experiments.evaluate --output=workdir/healing/report \
    --models=data/pretrained/assistant,workdir/healing/crude_plain/models/aware,...

All have the same steps and data. ``crude_*`` are on ``generic_nna_crude``:

* ``plain``: the gradient of the exact sigmoid and tanh,
* ``unit_slope``: the slope of the chip's own units, which is zero where they are flat,
* ``annealed``: the former for half of the steps, then the latter,
* ``small_cells``: a penalty on cell states beyond half of their format's range,
* ``decayed``: weight decay,
* ``fast``: three times the learning rate.

``w2_*`` are on Ethos-U with 2-bit weights: ``plain``, and with trained ranges ``lsq`` and ``tqt``.
``taught.py`` adds a teacher to both, ``precision_schedule.py`` lowers precision over time.
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import on_chip, taught
from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.infra.config_overrides import config_of
from rnnt_qat.objectives import CellGrowth
from rnnt_qat.training.loop import LoopConfig
from rnnt_qat.training.objective import Objectives, WeightedObjective
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import Calibration, Stage, TrainingStage

CRUDE, W2 = taught.CHIPS["crude"], taught.CHIPS["w2"]
OPTIMIZER = OptimizerConfig(learning_rate=3e-4, warmup_steps=20, ema_decay=0.97)


def through(
    *precisions: str, optimizer: OptimizerConfig = OPTIMIZER, further: Objectives = ()
) -> ExperimentConfig:
    """Calibration, and training through a policy or several in turn.

    Args:
      precisions: policies of equal numbers of steps, which differ in their gradients alone.
      optimizer: of every stage.
      further: objectives beside the config's own.
    """
    whole = on_chip.experiment()
    stages: list[Stage] = []
    for number, precision in enumerate(precisions, start=1):
        ending = "" if number == len(precisions) else f"_{number}"
        stages += [
            Calibration(f"calibration{ending}", batches=10, precision=precision),
            TrainingStage(
                f"aware{ending}",
                precision=precision,
                steps=taught.STEPS // len(precisions),
                optimizer=optimizer,
                objectives=(*whole.objectives, *further) if further else (),
            ),
        ]
    return dataclasses.replace(
        whole,
        initialize_from="data/pretrained/assistant",
        precision=precisions[-1],
        stages=tuple(stages),
        loop=LoopConfig(log_every=20, evaluate_every=120),
    )


def get_config(variant: str = "crude_plain") -> ConfigDict:
    """The fields to override."""
    cells = (WeightedObjective("cells", CellGrowth(limit=4.0), 0.1),)
    return config_of(
        variant,
        {
            "crude_plain": lambda: through(CRUDE),
            "crude_unit_slope": lambda: through(f"{CRUDE}+unit_slope"),
            "crude_annealed": lambda: through(CRUDE, f"{CRUDE}+unit_slope"),
            "crude_small_cells": lambda: through(CRUDE, further=cells),
            "crude_decayed": lambda: through(
                CRUDE, optimizer=dataclasses.replace(OPTIMIZER, weight_decay=1e-2)
            ),
            "crude_fast": lambda: through(
                CRUDE, optimizer=dataclasses.replace(OPTIMIZER, learning_rate=1e-3)
            ),
            "w2_plain": lambda: through(W2),
            "w2_lsq": lambda: through(f"{W2}+lsq"),
            "w2_tqt": lambda: through(f"{W2}+tqt"),
        },
    )
