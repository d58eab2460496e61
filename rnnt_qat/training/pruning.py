"""Magnitude pruning: the smallest weights become zero, and stay zero.

Zero is exact in every format of a kernel (its zero point is 0), so what is pruned in floating point
is zero on the chip, where compressed weights take less memory and time.
"""

import dataclasses
import fnmatch

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from rnnt_qat.typing import Array, Bool, Float, Int, PyTree

Masks = dict[str, Bool[Array, "..."]]


@dataclasses.dataclass(frozen=True)
class MagnitudePruning:
    """A hook that sets ever more of each kernel to zero (Zhu and Gupta 2017).

    The sparsity rises as a cubic: fast while there is much to spare. A stage begins with the zeros
    that it finds: ``final_sparsity=0`` in a later stage keeps what an earlier one has pruned.

    Attributes:
      name: what addresses the hook in a config.
      final_sparsity: share of zeros in each kernel at the end.
      initial_sparsity: share at ``begin_step``.
      begin_step: step of the stage at which pruning begins.
      ramp_steps: steps from there to the final sparsity.
      every: steps between choices of what is pruned; between them the choice stands.
      pattern: shell pattern over the parameters' paths, e.g. ``encoder/*_kernel``.
    """

    name: str = "pruning"
    final_sparsity: float = 0.5
    initial_sparsity: float = 0.0
    begin_step: int = 0
    ramp_steps: int = 500
    every: int = 50
    pattern: str = "*kernel"

    def __post_init__(self):
        if not 0 <= self.initial_sparsity < 1 or not 0 <= self.final_sparsity < 1:
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

    def sparsity(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """Returns the share of zeros that is due at a step of the stage."""
        since = step - self.begin_step
        done = (
            jnp.clip(since / self.ramp_steps, 0.0, 1.0) if self.ramp_steps else 1.0 * (since >= 0)
        )
        return self.final_sparsity + (self.initial_sparsity - self.final_sparsity) * (1 - done) ** 3

    def init(self, params: PyTree) -> Masks:
        """Returns the masks of the weights that are not zero.

        Raises:
          ValueError: no parameter has a path that matches the pattern.
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
        """Returns the parameters with the pruned ones zero, and the masks of those that are left.

        Args:
          params: the network's.
          state: masks before.
          step: batches seen in the stage before this one.
        """
        last = self.begin_step + self.ramp_steps
        since = step - self.begin_step
        due = (since >= 0) & ((since % self.every == 0) | (step == last))
        leaves = flatten_dict(params, sep="/")

        def choose(masks: Masks) -> Masks:
            sparsity = self.sparsity(step)
            return {path: _largest(leaves[path], mask, sparsity) for path, mask in masks.items()}

        # Sorting a kernel costs more than an update of it; it is rarely due.
        masks = jax.lax.cond(due, choose, lambda masks: masks, state)
        return _masked(params, masks), masks

    def post_average(self, ema_params: PyTree, state: Masks) -> PyTree:
        """Returns the averaged parameters with the pruned ones zero.

        Args:
          ema_params: their average.
          state: the masks.
        """
        return _masked(ema_params, state)


def _largest(
    weights: Float[Array, "*S"], mask: Bool[Array, "*S"], sparsity: Float[Array, ""]
) -> Bool[Array, "*S"]:
    """The mask of what remains when a share of the weights, the smallest, is pruned."""
    magnitudes = jnp.where(mask, jnp.abs(weights), -1.0)  # what is pruned is pruned first
    count = jnp.floor(sparsity * weights.size).astype(jnp.int32)
    ascending = jnp.sort(magnitudes.ravel())
    threshold = jnp.where(count > 0, ascending[jnp.maximum(count - 1, 0)], -1.0)
    return magnitudes > threshold


def _masked(params: PyTree, masks: Masks) -> PyTree:
    leaves = flatten_dict(params, sep="/")
    leaves |= {path: jnp.where(mask, leaves[path], 0.0) for path, mask in masks.items()}
    return unflatten_dict(leaves, sep="/")
