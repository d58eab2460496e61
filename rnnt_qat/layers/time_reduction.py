"""Time reduction: stacks neighbouring frames, which lowers the frame rate."""

from dataclasses import dataclass

import jax.numpy as jnp

from rnnt_qat.quant.operators import Value
from rnnt_qat.quant.qtensor import map_values
from rnnt_qat.typing import Array, Bool


@dataclass(frozen=True)
class TimeReduction:
    """Stacks ``factor`` frames into one; has no parameters or state and only moves values.

    A last group that is only partly valid counts as valid; its missing frames are zeros.

    Attributes:
      factor: number of frames in a group.
    """

    factor: int

    @property
    def block_size(self) -> int:
        """Number of frames in a group."""
        return self.factor

    def initial_state(self, batch_size: int) -> tuple[()]:
        """Returns an empty state."""
        return ()

    def __call__(
        self, xs: Value, mask: Bool[Array, "B T"], state: tuple[()] | None = None
    ) -> tuple[Value, Bool[Array, "B To"], tuple[()]]:
        """Stacks the frames of one chunk.

        Args:
          xs: frames ``[B, T, D]``; T must be a multiple of the factor.
          mask: True where the frame is valid.
          state: unused.

        Returns:
          Frames ``[B, T / factor, factor * D]``, their mask, and an empty state.

        Raises:
          ValueError: T is not a multiple of the factor.
        """
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
