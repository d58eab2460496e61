"""Multiplication of an integer by a real ratio, given as an integer significand and a shift."""

import math
from typing import NamedTuple

import jax.numpy as jnp

from rnnt_qat.fixedpoint import wide
from rnnt_qat.fixedpoint.rounding import Rounding, rounding_shift_right
from rnnt_qat.fixedpoint.saturation import saturating_shift_left
from rnnt_qat.typing import Array, Float, Int


class Multiplier(NamedTuple):
    """A ratio ``significand / 2^bits * 2^shift`` with ``2^(bits-1) <= significand < 2^bits``.

    Attributes:
      significand: int32 array or int; zero for a ratio of zero.
      shift: int32 array or int; positive shifts left.
    """

    significand: int | Int[Array, "..."]
    shift: int | Int[Array, "..."]


SMALLEST_SHIFT = -31
"""Smallest shift of gemmlowp's multipliers; TFLite's QuantizeMultiplier flushes smaller ratios."""


def quantize_multiplier(ratio: float, bits: int = 31, smallest: int | None = None) -> Multiplier:
    """Quantizes a ratio that is known on the host, in double precision.

    Args:
      ratio: non-negative and finite.
      bits: width of the significand, 2 to 31.
      smallest: smallest shift; ratios below it become 0. None keeps every ratio.

    Returns:
      Significand and shift as ints.

    Raises:
      ValueError: the ratio is negative or not finite.
    """
    if not (math.isfinite(ratio) and ratio >= 0):
        raise ValueError(f"a scale ratio must be finite and not negative, not {ratio}")
    fraction, shift = math.frexp(ratio)
    significand = math.floor(math.ldexp(fraction, bits) + 0.5)
    if significand == 1 << bits:
        significand, shift = significand // 2, shift + 1
    flushed = smallest is not None and shift < smallest
    return Multiplier(0, 0) if flushed else Multiplier(significand, shift)


def multiplier_of(
    ratio: float | Float[Array, "..."], bits: int = 31, smallest: int | None = None
) -> Multiplier:
    """Quantizes a ratio: on the host in double precision, or in a traced program in its dtype.

    Args:
      ratio: non-negative; a Python float is quantized on the host.
      bits: width of the significand, 2 to 31.
      smallest: smallest shift; ratios below it become 0. None keeps every ratio.

    Returns:
      Significand and shift, as ints or int32 arrays.
    """
    if isinstance(ratio, float):
        return quantize_multiplier(ratio, bits, smallest)
    fraction, shift = jnp.frexp(ratio)
    if bits >= 24 and ratio.dtype == jnp.float32:
        significand = (fraction * 2.0**24).astype(jnp.int32) << (bits - 24)
    else:
        rounded = jnp.floor(fraction * 2.0**bits + 0.5)
        overflowed = rounded == 2.0**bits
        significand = jnp.where(overflowed, 2.0 ** (bits - 1), rounded).astype(jnp.int32)
        shift = (shift + overflowed).astype(jnp.int32)
    if smallest is None:
        return Multiplier(significand, shift)
    flushed = shift < smallest
    return Multiplier(jnp.where(flushed, 0, significand), jnp.where(flushed, 0, shift))


def exponent_of(power: float | Float[Array, "..."]) -> int | Int[Array, "..."]:
    """Returns ``n`` of a power of two ``2^n``: on the host, or in a traced program."""
    if isinstance(power, float):
        return math.frexp(power)[1] - 1
    return jnp.frexp(power)[1] - 1


def doubling_high_multiply(a: Int[Array, "*S"], b: Int[Array, "..."]) -> Int[Array, "*S"]:
    """Computes ``a * b / 2^31`` rounded, ties up, saturating (Arm's SQRDMULH on 32 bits)."""
    product = wide.add(wide.multiply(a, b), wide.Wide(jnp.int32(0), jnp.uint32(1 << 30)))
    result = (product.high << 1) | (product.low >> 31).astype(jnp.int32)
    smallest = jnp.int32(-(2**31))
    return jnp.where((a == smallest) & (b == smallest), jnp.int32(2**31 - 1), result)


def multiply_twice_rounded(
    x: Int[Array, "*S"], multiplier: Multiplier, rounding: Rounding = Rounding.AWAY
) -> Int[Array, "*S"]:
    """Computes ``x * ratio`` by a doubling high multiply and a rounding shift (gemmlowp).

    Args:
      x: int32; ``x * 2^shift`` wraps when a left shift overflows, as it does on the chip.
      multiplier: 31-bit significand, shift -31 to 30.
      rounding: rounding of the second step; the first rounds ties up.

    Returns:
      int32.
    """
    significand, shift = multiplier
    if isinstance(significand, int) and significand == 1 << 30:
        # A significand of 1/2 (a power-of-two ratio): the high multiply is a rounding halving.
        shifted = x << max(shift, 0)
        high = (shifted >> 1) + (shifted & 1)
        return rounding_shift_right(high, max(-shift, 0), rounding)
    shifted = x << jnp.maximum(shift, 0)
    high = doubling_high_multiply(shifted, jnp.asarray(significand, jnp.int32))
    return rounding_shift_right(high, jnp.maximum(-shift, 0), rounding)


def multiply_once_rounded(
    x: Int[Array, "*S"] | wide.Wide, multiplier: Multiplier, bits: int, rounding: Rounding
) -> Int[Array, "*S"]:
    """Computes ``x * ratio``, rounded once and saturated to int32.

    Args:
      x: int32, or a ``Wide`` of magnitude below 2^(62 - bits).
      multiplier: significand of ``bits`` bits (at most 31 for int32, 16 for a ``Wide``), any shift.
      bits: width of the significand.
      rounding: tie rule; TFLite's single rounding and TFLM's 16-bit path round ties up, LiteRT's
        reference FULLY_CONNECTED (round() of a double) away from zero.

    Returns:
      int32.
    """
    significand = jnp.asarray(multiplier.significand, jnp.int32)
    if isinstance(x, wide.Wide):
        product = wide.multiply_by_uint16(x, significand)
    else:
        product = wide.multiply(x, significand)
    places = bits - jnp.asarray(multiplier.shift, jnp.int32)
    shifted = wide.rounding_shift_right(product, jnp.clip(places, 0, 62), rounding)
    return saturating_shift_left(wide.saturate_to_int32(shifted), jnp.clip(-places, 0, 31))
