"""Magnitude pruning: sets the smallest weights or columns to zero and keeps them there.

Every kernel format represents zero exactly (its zero point is 0), so weights pruned in floating
point are zero on the chip, where compressed weights take less memory and time.
"""

import dataclasses
import fnmatch
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rnnt_qat.typing import Array, Bool, Float, Int, PyTree

Masks = dict[str, Bool[Array, "..."]]


@dataclasses.dataclass(frozen=True)
class CubicSparsity:
    """The schedule of a pruning hook: sparsity rises as a cubic (Zhu and Gupta 2017).

    It rises fastest at the beginning, while many weights are redundant.

    Attributes:
      name: name that addresses the hook in a config.
      final_sparsity: fraction that is pruned after the ramp, in [0, 1).
      initial_sparsity: fraction that is pruned at ``begin_step``, in [0, 1).
      begin_step: step of the stage at which pruning begins, >= 0.
      ramp_steps: number of steps from ``begin_step`` to the final sparsity, >= 0.
      every: steps between updates of the masks, >= 1.
    """

    name: str = "pruning"
    final_sparsity: float = 0.5
    initial_sparsity: float = 0.0
    begin_step: int = 0
    ramp_steps: int = 500
    every: int = 50

    def __post_init__(self):
        # In float32, as the number of what is pruned is computed: 1 would leave nothing.
        initial, final = np.float32(self.initial_sparsity), np.float32(self.final_sparsity)
        if not 0 <= initial < 1 or not 0 <= final < 1:
            raise ValueError(
                f"initial_sparsity={self.initial_sparsity} and final_sparsity="
                f"{self.final_sparsity} must lie in [0, 1)"
            )
        if self.begin_step < 0 or self.ramp_steps < 0 or self.every < 1:
            raise ValueError("begin_step and ramp_steps must be at least 0, every at least 1")

    def check(self, steps: int) -> None:
        """Raises ValueError if the stage ends before the final sparsity is reached."""
        if self.begin_step + self.ramp_steps >= steps:
            raise ValueError(
                f"begin_step={self.begin_step} and ramp_steps={self.ramp_steps} reach the final "
                f"sparsity at step {self.begin_step + self.ramp_steps} of a stage of {steps}; "
                "lower them or give the stage more steps"
            )

    @property
    def settled_after(self) -> int:
        """Number of steps of the stage after which the final sparsity is reached."""
        return self.begin_step + self.ramp_steps + 1

    def sparsity(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """Returns the scheduled fraction that is pruned at a step of the stage."""
        since = step - self.begin_step
        done = (
            jnp.clip(since / self.ramp_steps, 0.0, 1.0) if self.ramp_steps else 1.0 * (since >= 0)
        )
        return self.final_sparsity + (self.initial_sparsity - self.final_sparsity) * (1 - done) ** 3

    def due(self, step: Int[Array, ""]) -> Bool[Array, ""]:
        """Returns whether the masks change at a step of the stage."""
        since, last = step - self.begin_step, self.begin_step + self.ramp_steps
        return (since >= 0) & ((since % self.every == 0) | (step == last))


@dataclasses.dataclass(frozen=True)
class MagnitudePruning(CubicSparsity):
    """A hook that gradually increases the sparsity of each kernel.

    Weights that are zero at the start of a stage stay zero: ``final_sparsity=0`` in a later stage
    keeps the pruning of an earlier one. Kernels keep their sizes; ``UnitPruning`` prunes what can
    be removed.

    Attributes:
      pattern: shell pattern over parameter paths, e.g. ``encoder/*_kernel``.
      unit: ``weight`` prunes single weights by magnitude; ``column`` prunes whole columns (the
        weights of one output, of one gate in an LSTM) by Euclidean norm.
    """

    pattern: str = "*kernel"
    unit: Literal["weight", "column"] = "weight"

    def init(self, params: PyTree) -> Masks:
        """Returns the initial masks, True for nonzero weights.

        Raises:
          ValueError: if no parameter path matches the pattern.
        """
        leaves = flatten_dict(params, sep="/")
        masks = {
            path: leaf != 0
            for path, leaf in leaves.items()
            if fnmatch.fnmatchcase(path, self.pattern)
        }
        if not masks:
            raise ValueError(
                f"hook {self.name!r}: pattern {self.pattern!r} matches no parameter; there are "
                f"{', '.join(leaves)}"
            )
        return masks

    def post_update(
        self, params: PyTree, state: Masks, step: Int[Array, ""]
    ) -> tuple[PyTree, Masks]:
        """Prunes the parameters and updates the masks when they are due.

        Args:
          params: the network's parameters.
          state: masks before this step, by parameter path.
          step: number of batches processed in the stage before this one; int32 scalar.

        Returns:
          The pruned parameters and the masks, True for weights that are kept.
        """
        leaves = flatten_dict(params, sep="/")

        def choose(masks: Masks) -> Masks:
            sparsity = self.sparsity(step)
            chosen = _largest_columns if self.unit == "column" else largest
            return {path: chosen(leaves[path], mask, sparsity) for path, mask in masks.items()}

        # Sorting a kernel costs more than its update, so it runs only when due.
        masks = jax.lax.cond(self.due(step), choose, lambda masks: masks, state)
        return _masked(params, masks), masks

    def post_average(self, ema_params: PyTree, state: Masks) -> PyTree:
        """Returns the averaged parameters with the masks applied.

        Args:
          ema_params: moving average of the parameters.
          state: masks by parameter path.
        """
        return _masked(ema_params, state)


def largest(
    weights: Float[Array, "*S"], mask: Bool[Array, "*S"], sparsity: Float[Array, ""]
) -> Bool[Array, "*S"]:
    """Returns the mask of the weights kept when a fraction of them, the smallest, is pruned.

    Args:
      weights: values, of which the smallest in magnitude are pruned.
      mask: False for those that are pruned already, which stay so.
      sparsity: fraction to prune.
    """
    magnitudes = jnp.where(mask, jnp.abs(weights), -1.0)  # pruned weights sort first: they stay so
    count = jnp.floor(sparsity * weights.size).astype(jnp.int32)
    ascending = jnp.sort(magnitudes.ravel())
    threshold = jnp.where(count > 0, ascending[jnp.maximum(count - 1, 0)], -1.0)
    return magnitudes > threshold


def _largest_columns(
    weights: Float[Array, "*S M"], mask: Bool[Array, "*S M"], sparsity: Float[Array, ""]
) -> Bool[Array, "*S M"]:
    """Returns the mask of the columns kept when a fraction of them, the smallest, is pruned."""
    rows = tuple(range(weights.ndim - 1))
    norms = jnp.sqrt(jnp.sum(jnp.where(mask, weights, 0.0) ** 2, axis=rows))
    return mask & largest(norms, mask.any(axis=rows), sparsity)


def _masked(params: PyTree, masks: Masks) -> PyTree:
    leaves = flatten_dict(params, sep="/")
    leaves |= {path: jnp.where(mask, leaves[path], 0.0) for path, mask in masks.items()}
    return unflatten_dict(leaves, sep="/")
