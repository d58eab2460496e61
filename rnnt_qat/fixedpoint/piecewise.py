"""Piecewise linear sigmoid and tanh, for chips without a table."""

import math
from dataclasses import dataclass

import jax.numpy as jnp

from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.qformat import Q0_15, QFormat
from rnnt_qat.fixedpoint.rounding import Rounding, rounding_shift_right
from rnnt_qat.typing import Array, Float, Int


@dataclass(frozen=True)
class Line:
    """A segment ``offset + |x| / 2^slope_shift`` that applies from ``|x| = start`` on.

    Attributes:
      start: smallest magnitude of the segment.
      slope_shift: the slope is ``2^-slope_shift``; None is a constant segment.
      offset: value of the line at 0.
    """

    start: float
    slope_shift: int | None
    offset: float


PLAN = (
    Line(0.0, 2, 0.5),
    Line(1.0, 3, 0.625),
    Line(2.375, 5, 0.84375),
    Line(5.0, None, 1.0),
)
"""Sigmoid as four segments with power-of-two slopes (Amin, Curtis & Hayes-Gill, 1997)."""

HARD = (Line(0.0, 2, 0.5), Line(2.0, None, 1.0))
"""Hard sigmoid: clip(x / 4 + 1 / 2, 0, 1); its tanh is clip(x, -1, 1)."""


@dataclass(frozen=True)
class PiecewiseLinear:
    """A piecewise linear sigmoid of the magnitude; tanh(x) = 2 sigmoid(2x) - 1.

    Attributes:
      function: sigmoid or tanh.
      lines: segments by increasing start, the first at 0, the last constant.
      output: fixed-point format of the output with range +-1 (the largest integer stands for 1).
      rounding: rounding of the result.
    """

    function: Function
    lines: tuple[Line, ...] = PLAN
    output: QFormat = Q0_15
    rounding: Rounding = Rounding.AWAY

    def __post_init__(self):
        starts = [line.start for line in self.lines]
        if starts != sorted(starts) or not starts or starts[0] != 0.0:
            raise ValueError("PiecewiseLinear.lines must start at 0 and go up")

    def check_input(self, input_format: QFormat) -> None:
        """Accepts fixed-point formats of up to 16 bits, so that the sums fit 32 bits."""
        if input_format.frac_bits is None or input_format.bits > 16 or input_format.frac_bits < 1:
            raise ValueError(f"lines take a fixed format of up to 16 bits, not {input_format}")

    def __call__(self, x: Int[Array, "*S"], frac_bits: int) -> Int[Array, "*S"]:
        """Computes the output in the format ``output``, as int32."""
        argument, argument_frac = self._argument(x, frac_bits)
        # Lines are evaluated exactly, with extra bits for the slopes: only the result is rounded.
        extra = max(line.slope_shift or 0 for line in self.lines)
        inner_frac = argument_frac + extra
        value = jnp.zeros_like(argument)
        for line in self.lines:
            offset = _fixed(line.offset, inner_frac)
            slanted = (
                offset
                if line.slope_shift is None
                else offset + (argument << (extra - line.slope_shift))
            )
            value = jnp.where(argument >= _start(line, argument_frac), slanted, value)
        if self.function is Function.TANH:
            value = 2 * value - (1 << inner_frac)
        drop = inner_frac - self.output.fixed_frac_bits
        value = rounding_shift_right(value << max(-drop, 0), max(drop, 0), self.rounding)
        value = jnp.minimum(value, self.output.maximum)
        one = 0 if self.function is Function.TANH else 1 << self.output.fixed_frac_bits
        return jnp.where(x >= 0, value, one - value)

    def slope(self, x: Int[Array, "*S"], frac_bits: int) -> Float[Array, "*S"]:
        """Computes the slope of the segment."""
        argument, argument_frac = self._argument(x, frac_bits)
        slope = jnp.zeros(x.shape, jnp.float32)
        for line in self.lines:
            steepness = 0.0 if line.slope_shift is None else 2.0**-line.slope_shift
            slope = jnp.where(argument >= _start(line, argument_frac), steepness, slope)
        return slope if self.function is Function.SIGMOID else 4 * slope

    def _argument(self, x, frac_bits):
        """Returns the magnitude of sigmoid's argument (2x for tanh) and its fractional bits."""
        return jnp.abs(x), frac_bits - int(self.function is Function.TANH)


def _start(line: Line, frac_bits: int) -> int:
    """Returns the first integer magnitude at or above the start of the segment."""
    return math.ceil(line.start * 2**frac_bits)


def _fixed(x: float, frac_bits: int) -> int:
    return round(x * 2**frac_bits)
