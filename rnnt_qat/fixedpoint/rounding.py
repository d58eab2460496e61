"""Rounding: of real numbers, and of integers divided by a power of two."""

import enum

import jax.numpy as jnp

from rnnt_qat.typing import Array, Float, Int


class Rounding(enum.Enum):
    """Where a number between two integers goes: halfway ones, and all others to the nearest."""

    AWAY = "away from zero"
    """gemmlowp's RoundingDivideByPOT, C's round()."""
    EVEN = "to even"
    """IEEE 754, jnp.round, AQT."""
    UP = "towards +infinity"
    """Add half and shift: gemmlowp's doubling high multiply, most hardware."""
    TOSA_DOUBLE = "towards +infinity, from one step below a tie, or of negatives away from zero"
    """TOSA's RESCALE with double rounding, at a power-of-two ratio: of integers alone. It adds half
    and, where two bits or more are dropped, one step in the direction of the sign."""
    TRUNCATE = "down"
    """Every number, halfway or not, to the integer below: bits are dropped, which costs nothing."""


def round_real(x: Float[Array, "*S"], rounding: Rounding) -> Float[Array, "*S"]:
    """An integer, as float32. Exact for every float32, also where ``x + 0.5`` would round."""
    if rounding is Rounding.EVEN:
        return jnp.round(x)
    if rounding is Rounding.TRUNCATE:
        return jnp.floor(x)
    if rounding is Rounding.TOSA_DOUBLE:
        raise ValueError("TOSA's double rounding is of integers: a real number has no last step")
    whole = jnp.trunc(x)
    fraction = x - whole  # exact
    down = fraction < -0.5 if rounding is Rounding.UP else fraction <= -0.5
    return whole + (fraction >= 0.5).astype(x.dtype) - down.astype(x.dtype)


def rounding_shift_right(
    x: Int[Array, "*S"], shift: int | Int[Array, "..."], rounding: Rounding
) -> Int[Array, "*S"]:
    """``x / 2^shift`` to an integer.

    Args:
      x: int32.
      shift: 0 to 31; a Python int, or an int32 array that broadcasts.
      rounding: which.
    """
    if rounding is Rounding.TRUNCATE:
        return x >> shift
    mask = (jnp.int32(1) << shift) - 1
    below, remainder, half_minus_one = x >> shift, x & mask, (mask >> 1)
    if rounding is Rounding.UP:
        up = remainder > half_minus_one
    elif rounding is Rounding.AWAY:
        up = remainder > half_minus_one + (x < 0).astype(jnp.int32)
    elif rounding is Rounding.TOSA_DOUBLE:
        nudge = jnp.where(jnp.asarray(shift) < 2, 0, jnp.where(x < 0, -1, 1))
        up = remainder > half_minus_one - nudge
    else:
        up = remainder > half_minus_one + 1 - (below & 1)
    return below + up.astype(jnp.int32)
