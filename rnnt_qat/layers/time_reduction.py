"""Time reduction: neighbouring frames side by side, at a fraction of the rate."""

from dataclasses import dataclass

import jax.numpy as jnp

from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.qtensor import map_values
from rnnt_qat.typing import Array, Bool


@dataclass(frozen=True)
class TimeReduction:
    """Stacks ``factor`` frames into one; without parameters or state, it moves values only.

    A last group that is only partly valid is valid, with zeros for what is missing.
    """

    factor: int

    @property
    def block_size(self) -> int:
        """Frames of one group."""
        return self.factor

    def initial_state(self, batch_size: int) -> tuple[()]:
        """Nothing is carried."""
        return ()

    def __call__(
        self, xs: Value, mask: Bool[Array, "B T"], state: tuple[()] | None = None
    ) -> tuple[Value, Bool[Array, "B To"], tuple[()]]:
        """``[B, T, D] -> [B, T / factor, factor * D]``; T must be a multiple of the factor."""
        frames = mask.shape[1]
        if frames % self.factor:
            raise ValueError(
                f"time reduction by {self.factor} got a chunk of {frames} frames; "
                f"make the chunk a multiple of {self.factor} frames"
            )

        def stack(values: Array) -> Array:
            values = jnp.where(mask[..., None], values, 0)
            return values.reshape(values.shape[0], frames // self.factor, -1)

        return map_values(stack, xs), mask[:, :: self.factor], ()
