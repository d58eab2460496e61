"""Choice of the paths through time on which the gradient of a recurrence flows."""

import dataclasses
from typing import Literal

import jax.numpy as jnp

from rnnt_qat.typing import Array, Bool


@dataclasses.dataclass(frozen=True)
class TemporalGradient:
    """Paths through time that the gradient of an LSTM includes; outputs do not depend on it.

    - ``full``: all paths (backpropagation through time).
    - ``truncated``: the paths within windows; the state carried into a window is a constant
      (Williams and Peng, 1990).
    - ``online``: the path through cell states; the hidden state that the recurrent kernel
      multiplies is a constant. Eligibility traces of the cell compute the same gradients of the
      layer's parameters forwards in time (Bellec et al., 2020; Xiao et al., "Online Training
      Through Time", 2022).
    - ``spatial``: none; each frame's previous state is a constant (Meng et al., 2023).

    Attributes:
      kind: the choice.
      window: number of frames in a window, >= 1, counted from the first frame of each call; 0
        unless the kind is ``truncated``.
    """

    kind: Literal["full", "truncated", "online", "spatial"] = "full"
    window: int = 0

    def __post_init__(self):
        if self.kind == "truncated" and self.window < 1:
            raise ValueError(f"kind='truncated' needs window >= 1, not window={self.window}")
        if self.kind != "truncated" and self.window:
            raise ValueError(f"window={self.window} is for kind='truncated', not '{self.kind}'")

    @property
    def through_hidden(self) -> bool:
        """Whether gradients flow through the recurrent kernel to the previous hidden state."""
        return self.kind in ("full", "truncated")

    @property
    def through_cell(self) -> bool:
        """Whether gradients flow to the previous cell state."""
        return self.kind != "spatial"

    def carries(self, frames: int) -> Bool[Array, "T"] | None:
        """Returns False for the first frame of each window; None if there are no windows.

        Args:
          frames: number of frames T of a call.
        """
        return jnp.arange(frames) % self.window != 0 if self.window else None


FULL = TemporalGradient()
"""Backpropagation through time."""
