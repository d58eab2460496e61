"""64-bit integers as two 32-bit words, for programs that run without JAX's x64 mode."""

from typing import NamedTuple

import jax.numpy as jnp

from rnnt_qat.fixedpoint.rounding import Rounding
from rnnt_qat.typing import Array, Float, Int, Num


class Wide(NamedTuple):
    """The integer ``high * 2^32 + low``.

    Attributes:
      high: int32.
      low: uint32.
    """

    high: Int[Array, "*S"]
    low: Num[Array, "*S"]


def widen(x: Int[Array, "*S"]) -> Wide:
    """Sign-extends int32."""
    return Wide(x >> 31, x.astype(jnp.uint32))


def from_limbs(high: Int[Array, "*S"], low: Int[Array, "*S"]) -> Wide:
    """Computes ``high * 2^16 + low`` of two int32."""
    carried = high + (low >> 16)
    return Wide(carried >> 16, ((carried << 16) | (low & 0xFFFF)).astype(jnp.uint32))


def multiply(a: Int[Array, "*S"], b: Int[Array, "..."]) -> Wide:
    """Computes the full product of two int32 (Warren, Hacker's Delight, section 8-2)."""
    a_low, b_low = a & 0xFFFF, b & 0xFFFF
    a_high, b_high = a >> 16, b >> 16
    low = a_low.astype(jnp.uint32) * b_low.astype(jnp.uint32)
    middle = a_high * b_low + (low >> 16).astype(jnp.int32)
    other = a_low * b_high + (middle & 0xFFFF)
    return Wide(
        a_high * b_high + (middle >> 16) + (other >> 16),
        (other.astype(jnp.uint32) << 16) | (low & 0xFFFF),
    )


def multiply_by_uint16(x: Wide, factor: Int[Array, "..."]) -> Wide:
    """Computes ``x * factor`` for ``0 <= factor < 2^16``; the product must fit 64 bits."""
    factor_word = factor.astype(jnp.uint32)
    low = (x.low & 0xFFFF) * factor_word
    middle = (x.low >> 16) * factor_word + (low >> 16)
    return Wide(x.high * factor + (middle >> 16).astype(jnp.int32), (middle << 16) | (low & 0xFFFF))


def add(a: Wide, b: Wide) -> Wide:
    """Computes ``a + b``, wrapping at 64 bits."""
    low = a.low + b.low
    # The low words carry exactly if their unsigned sum wrapped below an operand.
    return Wide(a.high + b.high + (low < a.low).astype(jnp.int32), low)


def negate(x: Wide) -> Wide:
    """Computes ``-x`` (two's complement)."""
    return add(Wide(~x.high, ~x.low), widen(jnp.int32(1)))


def to_float(x: Wide) -> Float[Array, "*S"]:
    """Converts to float32."""
    return x.high.astype(jnp.float32) * 2.0**32 + x.low.astype(jnp.float32)


def power_of_two(exponent: Int[Array, "..."]) -> Wide:
    """Computes ``2^exponent`` for exponents 0 to 62."""
    high = jnp.where(exponent >= 32, jnp.int32(1) << (exponent & 31), 0)
    low = jnp.where(exponent < 32, jnp.uint32(1) << (exponent & 31).astype(jnp.uint32), 0)
    return Wide(high, low.astype(jnp.uint32))


def shift_right(x: Wide, shift: Int[Array, "..."]) -> Wide:
    """Computes ``floor(x / 2^shift)`` for shifts 0 to 63."""
    shift = jnp.asarray(shift, jnp.int32)
    part = shift & 31
    unsigned = part.astype(jnp.uint32)
    # A shift by 32 is undefined, so the bits of the high word are moved in two shifts.
    carried = (x.high.astype(jnp.uint32) << 1) << (31 - unsigned)
    near = Wide(x.high >> part, carried | (x.low >> unsigned))
    far = (x.high >> part).astype(jnp.uint32)
    return Wide(
        jnp.where(shift >= 32, x.high >> 31, near.high), jnp.where(shift >= 32, far, near.low)
    )


def rounding_shift_right(x: Wide, shift: int | Int[Array, "..."], rounding: Rounding) -> Wide:
    """Computes ``x / 2^shift`` rounded to an integer.

    Args:
      x: integer of magnitude below 2^62.
      shift: 0 to 62; broadcasts.
      rounding: any mode but ``TOSA_DOUBLE``.

    Raises:
      ValueError: ``TOSA_DOUBLE`` is not defined for sums of more than 32 bits.
    """
    shift = jnp.asarray(shift, jnp.int32)
    if rounding is Rounding.TRUNCATE:
        return shift_right(x, shift)
    if rounding is Rounding.TOSA_DOUBLE:
        raise ValueError("TOSA rounds 48-bit sums once: give their role Rounding.UP")
    rounds = shift > 0
    half = power_of_two(jnp.maximum(shift - 1, 0))
    if rounding is Rounding.UP:
        nudge = jnp.zeros_like(x.high)
    elif rounding is Rounding.AWAY:
        nudge = x.high >> 31
    else:
        nudge = -((shift_right(x, shift).low & 1) ^ 1).astype(jnp.int32)
    moved = add(add(x, half), widen(nudge))
    return shift_right(
        Wide(jnp.where(rounds, moved.high, x.high), jnp.where(rounds, moved.low, x.low)), shift
    )


def saturate_to_int32(x: Wide) -> Int[Array, "*S"]:
    """Clips to int32."""
    low = x.low.astype(jnp.int32)
    largest = jnp.int32(2**31 - 1)
    return jnp.where(x.high == low >> 31, low, jnp.where(x.high < 0, -largest - 1, largest))
