"""A stack of LSTMs to measure: seeded kernels and inputs, the same bytes for every contestant."""

from dataclasses import dataclass

import numpy as np

FORGET_BIAS = 1.0


@dataclass(frozen=True)
class Stack:
    """Sizes of a stack; every layer is as wide as its input.

    Attributes:
      layers: LSTMs in all.
      width: H.
      rows: B.
      frames: T, valid in every row: not every contestant knows padding.
    """

    layers: int
    width: int
    rows: int
    frames: int

    @classmethod
    def parse(cls, sizes: str) -> "Stack":
        """From ``layers,width,rows,frames``."""
        return cls(*map(int, sizes.split(",")))

    def inputs(self) -> np.ndarray:
        """``[B, T, H]``, float32."""
        return _normal(0, (self.rows, self.frames, self.width))

    def cotangent(self) -> np.ndarray:
        """``[B, T, H]``: the loss is the inner product of the outputs with this."""
        return _normal(1, (self.rows, self.frames, self.width))

    def kernels(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of each layer: input and recurrent kernel ``[H, 4H]``, bias ``[4H]``; gates ifgo."""
        scale = self.width**-0.5
        bias = np.zeros(4 * self.width, np.float32)
        bias[self.width : 2 * self.width] = FORGET_BIAS
        shape = (self.width, 4 * self.width)
        return [
            (_normal(2 * n + 2, shape) * scale, _normal(2 * n + 3, shape) * scale, bias)
            for n in range(self.layers)
        ]


def _normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)
