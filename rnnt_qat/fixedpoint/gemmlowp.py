"""gemmlowp's 16-bit logistic and tanh, computed without a table.

LiteRT's fused integer LSTM computes its gates this way: exp(-|x|) from a Taylor polynomial on
[-1/4, 0) and one factor for each bit of the remainder, then 1 / (1 + e) by three Newton-Raphson
steps (gemmlowp, fixedpoint/fixedpoint.h). Values are int16 in int32 lanes; ``Qm`` below means m
integer bits and 15 - m fractional bits. The product of ``_times`` has as many integer bits as both
operands together.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp

from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.qformat import Q0_15, QFormat
from rnnt_qat.fixedpoint.rounding import Rounding, rounding_shift_right
from rnnt_qat.fixedpoint.saturation import saturate
from rnnt_qat.typing import Array, Float, Int

_ONE = 32767  # 1 in Q0, the nearest value


def _constant(x: float, integer_bits: int = 0) -> int:
    """Quantizes a real constant as gemmlowp does: to 32 bits and then to 16."""
    in_32_bits = math.floor(math.ldexp(x, 31 - integer_bits) + 0.5)
    return (in_32_bits + (1 << 15) - (in_32_bits < 0)) >> 16


def _times(a: Int[Array, "*S"], b: Int[Array, "*S"] | int) -> Int[Array, "*S"]:
    """Multiplies fixed-point numbers: doubling high multiply on 16 bits, ties up, saturating."""
    return jnp.minimum((a * b + (1 << 14)) >> 15, _ONE)


def _rescale_up(x: Int[Array, "*S"], places: int) -> Int[Array, "*S"]:
    """Reduces the number of integer bits by ``places``, saturating."""
    return saturate(x << places, 16)


def _halve_rounding(x: Int[Array, "*S"], places: int) -> Int[Array, "*S"]:
    return rounding_shift_right(x, places, Rounding.AWAY)


def _exp_near_zero(a: Int[Array, "*S"]) -> Int[Array, "*S"]:
    """Computes exp(a) for a in [-1/4, 0), Q0, by a Taylor polynomial of degree 4 around -1/8."""
    x = a + (1 << 12)
    x2 = _times(x, x)
    x3 = _times(x2, x)
    x4_over_4 = _halve_rounding(_times(x2, x2), 2)
    tail = _halve_rounding(_times(x4_over_4 + x3, _constant(1 / 3)) + x2, 1)
    centre = _constant(math.exp(-1 / 8))
    return saturate(centre + _times(x + tail, centre), 16)


def _exp_of_negative(a: Int[Array, "*S"], integer_bits: int) -> Int[Array, "*S"]:
    """Computes exp(a) in Q0 for a <= 0 in Q``integer_bits``."""
    frac_bits = 15 - integer_bits
    quarter = 1 << (frac_bits - 2)
    part = (a & (quarter - 1)) - quarter
    result = _exp_near_zero(_rescale_up(part, integer_bits))
    rest = part - a
    for exponent in range(-2, min(integer_bits, 5)):
        factor = _constant(math.exp(-(2.0**exponent)))
        has_bit = (rest >> (frac_bits + exponent)) & 1
        result = jnp.where(has_bit == 1, _times(result, factor), result)
    if integer_bits > 5:
        result = jnp.where(a < -32 * (1 << frac_bits), 0, result)
    return jnp.where(a == 0, _ONE, result)


def _reciprocal_of_mean_with_one(e: Int[Array, "*S"]) -> Int[Array, "*S"]:
    """Computes 2 / (1 + e) in Q2 for e in (0, 1) in Q0."""
    half_denominator = (e + _ONE + 1) >> 1
    x = _constant(48 / 17, 2) + _times(half_denominator, _constant(-32 / 17, 2))
    for _ in range(3):
        error = (1 << 13) - _times(half_denominator, x)
        x = x + _rescale_up(_times(x, error), 2)
    return x


def logistic_int16(x: Int[Array, "*S"], integer_bits: int) -> Int[Array, "*S"]:
    """Computes 1 / (1 + exp(-x)).

    Args:
      x: int32 holding int16, ``15 - integer_bits`` fractional bits.
      integer_bits: 0 to 6.

    Returns:
      int32 holding int16 in Q0.15.
    """
    exponential = _exp_of_negative(-jnp.abs(x), integer_bits)
    positive = _rescale_up(_reciprocal_of_mean_with_one(exponential), 1)
    return jnp.where(x == 0, 1 << 14, jnp.where(x > 0, positive, _ONE - positive))


def tanh_int16(x: Int[Array, "*S"], integer_bits: int) -> Int[Array, "*S"]:
    """Computes tanh(x) = (1 - exp(-2x)) / (1 + exp(-2x)).

    Args:
      x: int32 holding int16, ``15 - integer_bits`` fractional bits.
      integer_bits: 0 to 6.

    Returns:
      int32 holding int16 in Q0.15.
    """
    # The same integer, read with one more integer bit, is 2x.
    exponential = _exp_of_negative(-jnp.abs(x), integer_bits + 1)
    magnitude = _rescale_up(_reciprocal_of_mean_with_one(exponential) - (1 << 13), 2)
    return jnp.where(x == 0, 0, jnp.where(x < 0, -magnitude, magnitude))


@dataclass(frozen=True)
class GemmlowpActivation:
    """gemmlowp's 16-bit sigmoid or tanh unit.

    Attributes:
      function: sigmoid or tanh.
    """

    function: Function

    @property
    def output(self) -> QFormat:
        """Q0.15."""
        return Q0_15

    def check_input(self, input_format: QFormat) -> None:
        """Accepts 16 bits with 0 to 6 integer bits."""
        if (
            input_format.bits != 16
            or input_format.frac_bits is None
            or not 0 <= input_format.integer_bits <= 6
        ):
            raise ValueError(f"gemmlowp's unit takes Q0.15 to Q6.9, not {input_format}")

    def __call__(self, x: Int[Array, "*S"], frac_bits: int) -> Int[Array, "*S"]:
        """Computes the output in Q0.15, as int32."""
        evaluate = logistic_int16 if self.function is Function.SIGMOID else tanh_int16
        return evaluate(x, 15 - frac_bits)

    def slope(self, x: Int[Array, "*S"], frac_bits: int) -> Float[Array, "*S"]:
        """Computes the derivative of the exact function from the output of the unit."""
        y = self(x, frac_bits).astype(jnp.float32) * 2.0**-15
        return y * (1 - y) if self.function is Function.SIGMOID else 1 - y * y
