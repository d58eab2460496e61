"""A penalty on cell states that grow out of what a chip's format can hold."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rnnt_qat.batch import Batch
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.objectives.outputs import Outputs
from rnnt_qat.typing import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class CellGrowth:
    """Squared excess of LSTM cell states over a limit.

    An LSTM's cell adds up over an utterance without bound, and a chip's cell format saturates: a
    network that keeps its cells small loses nothing there, and small cells need no wide format.
    Of each layer it is the mean over the units, summed over frames or labels.

    Attributes:
      limit: magnitude up to which a cell costs nothing.
    """

    limit: float = 4.0

    needs_teacher = False
    terms = ("cells",)

    def __post_init__(self):
        if self.limit < 0:
            raise ValueError(f"limit is {self.limit}; it must not be negative")

    def check(self, model: RNNTConfig) -> None:
        """What layers have cells is known when they are called."""

    def __call__(
        self, outputs: Outputs, teacher: Outputs | None, batch: Batch, step: Int[Array, ""]
    ) -> Mapping[str, Float[Array, "B"]]:
        """Returns the penalty of each row, summed over the layers.

        Raises:
          ValueError: no layer has cells.
        """
        del teacher, batch, step
        if not outputs.cells:
            raise ValueError("no recurrent layer of this model has cells that could grow")
        layers = []
        for states in outputs.cells.values():
            excess = jax.nn.relu(jnp.abs(states.cell.astype(jnp.float32)) - self.limit)
            layers.append(jnp.where(states.mask, jnp.mean(excess**2, axis=-1), 0.0).sum(axis=1))
        return {"cells": sum(layers[1:], start=layers[0])}
