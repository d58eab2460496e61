"""Saturation and wrap-around of integers that exceed their width."""

import enum

import jax.numpy as jnp

from rnnt_qat.typing import Array, Int


class Overflow(enum.Enum):
    """Behaviour of a chip for a result that does not fit."""

    SATURATE = "saturate"
    """Clip to the nearest integer that fits."""
    WRAP = "wrap"
    """Keep the low bits (two's complement)."""


def int_range(bits: int, narrow: bool = False) -> tuple[int, int]:
    """Returns the range of two's complement; ``narrow`` excludes the smallest integer (weights)."""
    return -(2 ** (bits - 1)) + int(narrow), 2 ** (bits - 1) - 1


def saturate(x: Int[Array, "*S"], bits: int, narrow: bool = False) -> Int[Array, "*S"]:
    """Clips int32 to ``bits`` (2 to 32) bits."""
    return jnp.clip(x, *int_range(bits, narrow))


def wrap(x: Int[Array, "*S"], bits: int) -> Int[Array, "*S"]:
    """Keeps the low ``bits`` (2 to 32) bits of int32, sign-extended."""
    return (x << (32 - bits)) >> (32 - bits)


def fit(x: Int[Array, "*S"], bits: int, overflow: Overflow) -> Int[Array, "*S"]:
    """Reduces int32 to ``bits`` bits by the given overflow behaviour."""
    return saturate(x, bits) if overflow is Overflow.SATURATE else wrap(x, bits)


def saturating_add(a: Int[Array, "*S"], b: Int[Array, "..."], bits: int = 32) -> Int[Array, "..."]:
    """Computes ``a + b`` of int32 clipped to ``bits`` bits, without wrapping; shapes broadcast."""
    total = a + b
    # The sum wrapped exactly if its sign differs from the signs of both operands.
    overflowed = ((a ^ total) & (b ^ total)) < 0
    largest = jnp.int32(2**31 - 1)
    total = jnp.where(overflowed, jnp.where(a < 0, -largest - 1, largest), total)
    return saturate(total, bits)


def saturating_shift_left(x: Int[Array, "*S"], shift: int | Int[Array, "..."]) -> Int[Array, "*S"]:
    """Computes ``x * 2^shift`` of int32 for a shift of 0 to 31, saturated."""
    shifted = x << shift
    largest = jnp.int32(2**31 - 1)
    return jnp.where(shifted >> shift == x, shifted, jnp.where(x < 0, -largest - 1, largest))
