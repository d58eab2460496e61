"""Pruning of whole hidden units of LSTM layers while training; ``RemoveUnits`` removes them."""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.infra.errors import UserError
from rnnt_qat.models.hidden_units import (
    living_units,
    unit_norms,
    with_zero_units,
    without_dead_units,
)
from rnnt_qat.training.pruning import CubicSparsity, largest
from rnnt_qat.typing import Array, Bool, Int, PyTree

UnitMasks = dict[str, Bool[Array, "H"]]


class LivingUnitsError(UserError, ValueError):
    """A layer with more units that live than its pruning was to leave."""


@dataclasses.dataclass(frozen=True)
class UnitPruning(CubicSparsity):
    """A hook that gradually prunes whole units of each plain LSTM layer, the smallest first.

    All weights of a pruned unit are zero: its columns in the four gates, its row in the recurrent
    kernel, and its rows in the kernels that read the layer. Its norm is that of all of these. Units
    without incoming weights at the start of a stage stay pruned.

    Attributes:
      pattern: shell pattern over module paths of layers, e.g. ``encoder/*``.
    """

    pattern: str = "*"

    def kept(self, path: str, width: int) -> int:
        """Returns the number of units of a layer that remain after the ramp.

        Args:
          path: module path of the layer.
          width: number of its units.
        """
        if not fnmatch.fnmatchcase(path, self.pattern):
            return width
        # In float32, as the number is computed in training.
        return width - int(np.floor(np.float32(self.final_sparsity) * np.float32(width)))

    def init(self, params: PyTree) -> UnitMasks:
        """Returns the initial masks by layer, True for units that live.

        Raises:
          ValueError: if no plain LSTM layer matches the pattern.
        """
        living = living_units(params)
        masks = {p: m for p, m in living.items() if fnmatch.fnmatchcase(p, self.pattern)}
        if not masks:
            raise ValueError(
                f"hook {self.name!r}: pattern {self.pattern!r} matches no plain LSTM layer; there "
                f"are {', '.join(living) or 'none'}"
            )
        return masks

    def post_update(
        self, params: PyTree, state: UnitMasks, step: Int[Array, ""]
    ) -> tuple[PyTree, UnitMasks]:
        """Prunes units and updates the masks when they are due; arguments as for ``Hook``."""
        sparsity, norms = self.sparsity(step), unit_norms(params)

        def choose(masks: UnitMasks) -> UnitMasks:
            return {path: largest(norms[path], mask, sparsity) for path, mask in masks.items()}

        # After the ramp in every step, so that a skipped batch at its end leaves none behind.
        due = self.due(step) | (step >= self.begin_step + self.ramp_steps)
        masks = jax.lax.cond(due, choose, lambda masks: masks, state)
        return with_zero_units(params, masks), masks

    def post_average(self, ema_params: PyTree, state: UnitMasks) -> PyTree:
        """Returns the averaged parameters without the pruned units; arguments as for ``Hook``."""
        return with_zero_units(ema_params, state)


@dataclasses.dataclass(frozen=True)
class UnitRemoval:
    """Removal of pruned units; implements ``training.task.Removal``.

    Attributes:
      widths: number of units that remain, by layer.
    """

    widths: Mapping[str, int]

    @classmethod
    def after(cls, hooks: Sequence[UnitPruning], widths: Mapping[str, int]) -> "UnitRemoval":
        """Returns the removal of what hooks have pruned.

        Args:
          hooks: the hooks of all stages since the last removal.
          widths: numbers of units before pruning, by layer.
        """
        return cls(
            {
                path: min([width, *(hook.kept(path, width) for hook in hooks)])
                for path, width in widths.items()
            }
        )

    def remove(self, params: PyTree) -> PyTree:
        """Returns the parameters of the smaller network; can be traced."""
        return without_dead_units(params, self.widths)

    def check(self, params: PyTree) -> None:
        """Checks that only units without weights are removed.

        Raises:
          LivingUnitsError: if a layer has more units that live than remain.
        """
        for path, living in living_units(params).items():
            if (count := int(jnp.sum(living))) > self.widths[path]:
                raise LivingUnitsError(
                    f"{path} has {count} units that live, and its pruning was to leave "
                    f"{self.widths[path]}: give the stage's pruning hook more steps at its final "
                    "sparsity, and name it in every stage up to the removal whose objectives give "
                    "gradients to pruned units"
                )
