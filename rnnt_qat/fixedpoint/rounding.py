"""Rounding of real numbers, and of integers divided by a power of two."""

import enum

import jax.numpy as jnp

from rnnt_qat.typing import Array, Float, Int


class Rounding(enum.Enum):
    """Rounding mode: the integer that a number between two integers is mapped to."""

    AWAY = "away from zero"
    """Ties away from zero: gemmlowp's RoundingDivideByPOT, C's round()."""
    EVEN = "to even"
    """Ties to even: IEEE 754, jnp.round, AQT."""
    UP = "towards +infinity"
    """Ties up (add half and shift): gemmlowp's doubling high multiply, most hardware."""
    TRUNCATE = "down"
    """Every number to the integer below: the low bits are dropped, which needs no adder."""


def round_real(x: Float[Array, "*S"], rounding: Rounding) -> Float[Array, "*S"]:
    """Rounds real numbers to integers, returned as floats.

    The result is exact for every float32, also where ``x + 0.5`` would be rounded itself.

    Args:
      x: real values.
      rounding: rounding mode.
    """
    if rounding is Rounding.EVEN:
        return jnp.round(x)
    if rounding is Rounding.TRUNCATE:
        return jnp.floor(x)
    whole = jnp.trunc(x)
    fraction = x - whole  # exact in floating point
    down = fraction < -0.5 if rounding is Rounding.UP else fraction <= -0.5
    return whole + (fraction >= 0.5).astype(x.dtype) - down.astype(x.dtype)


def rounding_shift_right(
    x: Int[Array, "*S"], shift: int | Int[Array, "..."], rounding: Rounding
) -> Int[Array, "*S"]:
    """Computes ``x / 2^shift`` rounded to an integer.

    The remainder is compared instead of adding half to ``x``, which could overflow int32.

    Args:
      x: int32.
      shift: 0 to 31; a Python int, or an int32 array that broadcasts to the shape of ``x``.
      rounding: rounding mode.

    Returns:
      int32.
    """
    if rounding is Rounding.TRUNCATE:
        return x >> shift
    mask = (jnp.int32(1) << shift) - 1
    below, remainder, half_minus_one = x >> shift, x & mask, (mask >> 1)
    if rounding is Rounding.UP:
        up = remainder > half_minus_one
    elif rounding is Rounding.AWAY:
        up = remainder > half_minus_one + (x < 0).astype(jnp.int32)
    else:
        up = remainder > half_minus_one + 1 - (below & 1)
    return below + up.astype(jnp.int32)
