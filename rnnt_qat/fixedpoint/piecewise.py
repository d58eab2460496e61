"""Sigmoid and tanh by a few lines, for chips without a table."""

import math
from dataclasses import dataclass

import jax.numpy as jnp

from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.qformat import Q0_15, QFormat
from rnnt_qat.fixedpoint.rounding import Rounding, rounding_shift_right
from rnnt_qat.typing import Array, Float, Int


@dataclass(frozen=True)
class Line:
    """``offset + |x| / 2^slope_shift`` from ``|x| = start`` on; a shift of None is a constant."""

    start: float
    slope_shift: int | None
    offset: float


PLAN = (
    Line(0.0, 2, 0.5),
    Line(1.0, 3, 0.625),
    Line(2.375, 5, 0.84375),
    Line(5.0, None, 1.0),
)
"""Sigmoid in four lines whose slopes are powers of two (Amin, Curtis & Hayes-Gill, 1997)."""

HARD = (Line(0.0, 2, 0.5), Line(2.0, None, 1.0))
"""Hard sigmoid: clip(x / 4 + 1 / 2, 0, 1); its tanh is clip(x, -1, 1)."""


@dataclass(frozen=True)
class PiecewiseLinear:
    """Lines for the sigmoid of a magnitude; tanh(x) = 2 sigmoid(2x) - 1.

    Attributes:
      function: sigmoid or tanh.
      lines: by increasing start, the first at 0, the last constant.
      output: a fixed format that holds +-1 (the largest integer stands for 1).
      rounding: of the result.
    """

    function: Function
    lines: tuple[Line, ...] = PLAN
    output: QFormat = Q0_15
    rounding: Rounding = Rounding.AWAY

    def __post_init__(self):
        starts = [line.start for line in self.lines]
        if starts != sorted(starts) or not starts or starts[0] != 0.0:
            raise ValueError("PiecewiseLinear.lines must start at 0 and go up")

    def check_input(self, input: QFormat) -> None:
        """Takes fixed formats whose sums fit 32 bits."""
        if input.frac_bits is None or input.bits > 16 or input.frac_bits < 1:
            raise ValueError(f"lines take a fixed format of up to 16 bits, not {input}")

    def __call__(self, x: Int[Array, "*S"], frac_bits: int) -> Int[Array, "*S"]:
        """Integers in ``output``, int32."""
        argument, argument_frac = self._argument(x, frac_bits)
        # Every line is evaluated with the extra bits of its slope, so that one rounding is left.
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
        """Slope of the line."""
        argument, argument_frac = self._argument(x, frac_bits)
        slope = jnp.zeros(x.shape, jnp.float32)
        for line in self.lines:
            steepness = 0.0 if line.slope_shift is None else 2.0**-line.slope_shift
            slope = jnp.where(argument >= _start(line, argument_frac), steepness, slope)
        return slope if self.function is Function.SIGMOID else 4 * slope

    def _argument(self, x, frac_bits):
        """Magnitude of sigmoid's argument and its fractional bits: 2x is x with one bit fewer."""
        return jnp.abs(x), frac_bits - int(self.function is Function.TANH)


def _start(line: Line, frac_bits: int) -> int:
    """First magnitude on the line: coarse formats have none where it starts."""
    return math.ceil(line.start * 2**frac_bits)


def _fixed(x: float, frac_bits: int) -> int:
    return round(x * 2**frac_bits)
