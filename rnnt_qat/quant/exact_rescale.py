"""Requantization of accumulators without 64-bit products, fast enough for training.

A chip multiplies an accumulator by a significand and rounds the long product once. For accumulators
of up to 32 bits, the product is computed in float32, which determines the result except next to a
tie. Next to a tie, the distance to it is known to be short, so its lowest 32 bits are exact. A
wider accumulator that leads to a result within its format has at most 32 bits, and its product with
a significand of 15 bits is computed in two halves. tests/quant/test_exact_rescale.py checks all
cases against ``fixedpoint.requantize``.
"""

import jax
import jax.numpy as jnp

from rnnt_qat.fixedpoint import wide
from rnnt_qat.fixedpoint.multiplier import multiplier_of
from rnnt_qat.fixedpoint.requantize import Ratio, Rescale, SingleRoundingRescale, Sum
from rnnt_qat.fixedpoint.rounding import Rounding
from rnnt_qat.typing import Array, Int

_SIGNIFICAND_BITS = 24
"""Significand bits of float32; a ratio with at most so many is the chip's own multiplier."""
_WIDE_SIGNIFICAND_BITS = 15
_HALF_BITS = 16


def rescale(operator: Rescale, x: Int[Array, "*S"], ratio: Ratio, bits: int) -> Int[Array, "*S"]:
    """Computes ``operator(x, ratio)`` of int32.

    Results that fit ``bits`` are equal to the operator's; others lie beyond the same bound.

    Args:
      operator: the chip's rescaling.
      x: accumulators, int32.
      ratio: a Python float or float32.
      bits: width of the format to which the result is saturated, at most 16.
    """
    single = isinstance(operator, SingleRoundingRescale) and operator.bits == _SIGNIFICAND_BITS
    single = single and operator.rounding is not Rounding.TRUNCATE  # truncation has no ties
    # An accelerator multiplies integers as fast as floats, and a condition makes it wait.
    if not single or isinstance(ratio, float) or jax.default_backend() != "cpu":
        return operator(x, ratio)
    near = 2.0 ** (bits - 21)
    significand, exponent = multiplier_of(ratio, _SIGNIFICAND_BITS)
    places = _SIGNIFICAND_BITS - exponent
    held = (places >= 1) & (places <= 29 + 21 - bits)

    def by_float(x, ratio, significand, places):
        real = jnp.clip(x.astype(jnp.float32) * ratio, -(2.0**bits), 2.0**bits)
        floor = jnp.floor(real)
        below = floor.astype(jnp.int32)
        beyond_tie = real - floor - 0.5
        # Distance from the tie in steps of the chip's product; it fits 32 bits wherever it is near.
        distance = x * significand - ((2 * below + 1) << (places - 1))
        if operator.rounding is Rounding.AWAY:
            on_tie = below >= 0
        elif operator.rounding is Rounding.UP:
            on_tie = jnp.bool_(True)
        else:
            on_tie = below & 1 == 1
        exact = (distance > 0) | ((distance == 0) & on_tie)
        up = jnp.where(jnp.abs(beyond_tie) < near, exact, beyond_tie > 0)
        return below + up.astype(jnp.int32)

    def in_64_bits(x, ratio, significand, places):
        return operator(x, ratio)

    return jax.lax.cond(jnp.all(held), by_float, in_64_bits, x, ratio, significand, places)


def rescale_wide(
    operator: Rescale, high: Int[Array, "*S"], low: Int[Array, "*S"], ratio: Ratio, bits: int
) -> Int[Array, "*S"]:
    """Computes ``operator(x, ratio)`` of accumulators of up to 48 bits, ``x = 2^16 high + low``.

    Results that fit ``bits`` are equal to the operator's; others lie beyond the same bound.

    Args:
      operator: the chip's rescaling.
      high: int32.
      low: int32 in [0, 2^16).
      ratio: a Python float or float32.
      bits: width of the format to which the result is saturated, at most 16.
    """

    def in_64_bits(high, low, ratio):
        x: Sum = wide.from_limbs(high, low)
        return operator(x, ratio)

    single = isinstance(operator, SingleRoundingRescale) and operator.bits == _WIDE_SIGNIFICAND_BITS
    single = single and operator.rounding in (Rounding.UP, Rounding.AWAY)
    if not single or isinstance(ratio, float) or jax.default_backend() != "cpu":
        return in_64_bits(high, low, ratio)
    significand, exponent = multiplier_of(ratio, _WIDE_SIGNIFICAND_BITS)
    places = _WIDE_SIGNIFICAND_BITS - exponent
    # From ratios of 2^-15 on, all that has more than 32 bits is beyond a format of 16 bits. The
    # shift takes away the lower half of the product and the bit that rounds.
    held = (places > _HALF_BITS) & (places <= 2 * _WIDE_SIGNIFICAND_BITS - 1)

    def in_halves(high, low, ratio):
        del ratio
        lower = low * significand
        upper = jnp.clip(high, -(2**15), 2**15 - 1) * significand + (lower >> _HALF_BITS)
        shift = places - _HALF_BITS
        half = jnp.int32(1) << (shift - 1)
        rounded = (upper + half) >> shift
        if operator.rounding is Rounding.UP:
            return rounded
        fraction = upper & ((half << 1) - 1)
        on_tie = (fraction == half) & ((lower & 0xFFFF) == 0)
        return rounded - (on_tie & (high < 0)).astype(jnp.int32)

    return jax.lax.cond(jnp.all(held), in_halves, in_64_bits, high, low, ratio)
