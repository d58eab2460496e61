"""What the chips' sigmoid and tanh units have in common."""

import enum
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.typing import Array, Float, Int


class Function(enum.Enum):
    """The functions that a unit approximates."""

    SIGMOID = "sigmoid"
    TANH = "tanh"

    def exact(self, x: np.ndarray) -> np.ndarray:
        """The real function, in the dtype of ``x``."""
        if self is Function.TANH:
            return np.tanh(x)
        one = x.dtype.type(1)
        return one / (one + np.exp(-x))


FracBits = Any
"""Fractional bits of a unit's input: an int; for units that say so, also an int32 scalar array."""


@runtime_checkable
class Activation(Protocol):
    """A sigmoid or tanh unit: frozen and hashable, integers in and out."""

    def __hash__(self) -> int:
        """Units are configuration."""

    @property
    def output(self) -> QFormat:
        """Format of the result."""

    def check_input(self, input: QFormat) -> None:
        """Raises ValueError where the unit cannot take this format."""

    def __call__(self, x: Int[Array, "*S"], frac_bits: FracBits) -> Int[Array, "*S"]:
        """The unit's output, int32."""

    def slope(self, x: Int[Array, "*S"], frac_bits: FracBits) -> Float[Array, "*S"]:
        """Derivative of the curve that the unit draws, in real units."""
