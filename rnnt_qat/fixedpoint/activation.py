"""What the chips' sigmoid and tanh units have in common."""

import enum
from typing import Protocol

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


class Activation(Protocol):
    """A sigmoid or tanh unit: frozen and hashable, integers in and out.

    ``frac_bits`` is the number of fractional bits of the input: a Python int, or for the units that
    say so an int32 scalar of a calibrated format.
    """

    @property
    def output(self) -> QFormat:
        """Format of the result."""

    def check_input(self, input: QFormat) -> None:
        """Raises ValueError where the unit cannot take this format."""

    def __call__(self, x: Int[Array, "*S"], frac_bits: int | Int[Array, ""]) -> Int[Array, "*S"]:
        """The unit's output, int32."""

    def slope(self, x: Int[Array, "*S"], frac_bits: int | Int[Array, ""]) -> Float[Array, "*S"]:
        """Derivative of the curve that the unit draws, in real units."""
