"""Interface of the sigmoid and tanh units of the chips."""

import enum
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.typing import Array, Float, Int


class Function(enum.Enum):
    """Function that a unit approximates."""

    SIGMOID = "sigmoid"
    TANH = "tanh"

    def exact(self, x: np.ndarray) -> np.ndarray:
        """Computes the function in real arithmetic, in the dtype of ``x``."""
        if self is Function.TANH:
            return np.tanh(x)
        one = x.dtype.type(1)
        return one / (one + np.exp(-x))


FracBits = Any
"""Fractional bits of an input: an int, or an int32 scalar array if the unit supports it."""


@runtime_checkable
class Activation(Protocol):
    """A sigmoid or tanh unit on integers; frozen and hashable."""

    def __hash__(self) -> int:
        """Returns the hash: units are part of the configuration, which is a static argument."""

    @property
    def output(self) -> QFormat:
        """Format of the output."""

    def check_input(self, input_format: QFormat) -> None:
        """Raises ``ValueError`` if the unit does not support this input format."""

    def __call__(self, x: Int[Array, "*S"], frac_bits: FracBits) -> Int[Array, "*S"]:
        """Computes the output of the unit.

        Args:
          x: int32 input in a format that ``check_input`` accepts.
          frac_bits: fractional bits of ``x``.

        Returns:
          Integers in the format ``output``, as int32.
        """

    def slope(self, x: Int[Array, "*S"], frac_bits: FracBits) -> Float[Array, "*S"]:
        """Computes the derivative of the approximation, used by the backward pass.

        Args:
          x: int32 input, as in ``__call__``.
          frac_bits: fractional bits of ``x``.

        Returns:
          Slope in real units, float32.
        """
