"""What happens to an integer that its container cannot hold."""

import enum

import jax.numpy as jnp

from rnnt_qat.typing import Array, Int


class Overflow(enum.Enum):
    """What a chip does with a result that does not fit."""

    SATURATE = "saturate"
    """The nearest integer that fits."""
    WRAP = "wrap"
    """The low bits (two's complement)."""


def int_range(bits: int, narrow: bool = False) -> tuple[int, int]:
    """Smallest and largest two's complement integer; ``narrow`` drops the smallest (weights)."""
    return -(2 ** (bits - 1)) + int(narrow), 2 ** (bits - 1) - 1


def saturate(x: Int[Array, "*S"], bits: int, narrow: bool = False) -> Int[Array, "*S"]:
    """Clips int32 to ``bits`` (2 to 32)."""
    return jnp.clip(x, *int_range(bits, narrow))


def wrap(x: Int[Array, "*S"], bits: int) -> Int[Array, "*S"]:
    """Keeps the low ``bits`` (2 to 32) of int32, sign extended."""
    return (x << (32 - bits)) >> (32 - bits)


def fit(x: Int[Array, "*S"], bits: int, overflow: Overflow) -> Int[Array, "*S"]:
    """Brings int32 into ``bits``."""
    return saturate(x, bits) if overflow is Overflow.SATURATE else wrap(x, bits)


def saturating_add(a: Int[Array, "*S"], b: Int[Array, "..."], bits: int = 32) -> Int[Array, "..."]:
    """``a + b`` clipped to ``bits``: int32 of any size, whose sum never wraps; shapes broadcast."""
    total = a + b
    overflowed = ((a ^ total) & (b ^ total)) < 0
    largest = jnp.int32(2**31 - 1)
    total = jnp.where(overflowed, jnp.where(a < 0, -largest - 1, largest), total)
    return saturate(total, bits)


def saturating_sub(a: Int[Array, "*S"], b: Int[Array, "..."], bits: int = 32) -> Int[Array, "..."]:
    """``a - b`` clipped to ``bits``; int32 operands of any size, the difference never wraps."""
    difference = a - b
    overflowed = ((a ^ b) & (a ^ difference)) < 0
    largest = jnp.int32(2**31 - 1)
    difference = jnp.where(overflowed, jnp.where(a < 0, -largest - 1, largest), difference)
    return saturate(difference, bits)


def saturating_shift_left(x: Int[Array, "*S"], shift: int | Int[Array, "..."]) -> Int[Array, "*S"]:
    """``x * 2^shift`` of int32 for a shift of 0 to 31, saturated."""
    shifted = x << shift
    largest = jnp.int32(2**31 - 1)
    return jnp.where(shifted >> shift == x, shifted, jnp.where(x < 0, -largest - 1, largest))
