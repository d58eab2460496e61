"""Layer normalization of integers, as LiteRT's integer LSTM computes it.

A row becomes ``(x - mean) / deviation`` with 10 fractional bits: the sum of squares is formed in 64
bits, the inverse of the deviation by five Newton-Raphson steps on 32 bits (``ApplyLayerNorm`` and
``GetInvSqrtQuantizedMultiplierExp`` of TensorFlow Lite's reference kernels). Their gain and bias
are left out, because the product that reads the result holds both.
"""

import jax
import jax.numpy as jnp

from rnnt_qat.fixedpoint import wide
from rnnt_qat.fixedpoint.multiplier import (
    Multiplier,
    doubling_high_multiply,
    multiply_twice_rounded,
)
from rnnt_qat.fixedpoint.rounding import Rounding, rounding_shift_right
from rnnt_qat.fixedpoint.saturation import saturating_shift_left
from rnnt_qat.typing import Array, Int

FRAC_BITS = 10
"""Fractional bits of a normalized value."""
LARGEST_WIDTH = 2**15
"""Widest row of which the sums cannot overflow."""

_HALF_SQRT_2 = 1518500250
_ONE, _THREE_HALVES = 1 << 28, (1 << 28) + (1 << 27)
"""Constants with 3 integer bits."""


def normalize(x: Int[Array, "*S N"], bits: int) -> Int[Array, "*S N"]:
    """Normalizes every row to mean 0 and variance 1.

    The mean is truncated to 10 fractional bits. ``1 / N`` is rounded down to 20 bits, as LiteRT
    does: unless N is a power of two, the mean square is too small by up to a share of N / 2^20.
    A row whose variance is nothing becomes zeros.

    Args:
      x: int32 lanes that hold integers of ``bits`` bits, of any scale.
      bits: 2 to 16. Narrower integers are shifted up to 16 bits, so that the variance, which is
        an integer, keeps its resolution.

    Returns:
      int32 with ``FRAC_BITS`` fractional bits, of magnitude up to about ``2^10 sqrt(N)``.

    Raises:
      ValueError: a row is wider than ``LARGEST_WIDTH``.
    """
    width = x.shape[-1]
    if width > LARGEST_WIDTH:
        raise ValueError(f"layer norm of {width} values: sums of up to {LARGEST_WIDTH} are exact")
    x = x << (16 - bits)
    total = x.sum(axis=-1, dtype=jnp.int32)
    magnitude = jnp.abs(total)
    whole = magnitude // width
    mean = (whole << FRAC_BITS) + ((magnitude - whole * width) << FRAC_BITS) // width
    mean = jnp.where(total < 0, -mean, mean)
    squares = x * x
    square_sum = wide.from_limbs(
        (squares >> 16).sum(axis=-1, dtype=jnp.int32),
        (squares & 0xFFFF).sum(axis=-1, dtype=jnp.int32),
    )
    variance = wide.add(_mean_square(square_sum, width), wide.negate(wide.multiply(mean, mean)))
    significand, shift = inverse_square_root(
        wide.saturate_to_int32(wide.shift_right(variance, jnp.int32(2 * FRAC_BITS)))
    )
    centred = (x << FRAC_BITS) - mean[..., None]
    return multiply_twice_rounded(centred, Multiplier(significand[..., None], shift[..., None]))


def inverse_square_root(x: Int[Array, "*S"]) -> tuple[Int[Array, "*S"], Int[Array, "*S"]]:
    """Computes ``1 / sqrt(x)`` of int32; integers below 1 count as 1.

    Returns:
      Significand and shift of a ``Multiplier``.
    """
    large = x >= 1 << 29
    reduced = jnp.maximum(jnp.where(large, x >> 2, x), 2)
    pairs = ((jax.lax.clz(reduced) - 1) >> 1) - 1
    shift = 11 + large.astype(jnp.int32) - pairs
    # In [1/4, 1) with 3 integer bits.
    halved = (reduced << (2 * pairs)) >> 1
    half = rounding_shift_right(halved, 1, Rounding.AWAY)
    root = jnp.full_like(x, _ONE)
    for _ in range(5):
        cube = doubling_high_multiply(doubling_high_multiply(root, root), root)
        cube = saturating_shift_left(cube, 6)
        step = doubling_high_multiply(jnp.full_like(x, _THREE_HALVES), root)
        root = saturating_shift_left(step - doubling_high_multiply(half, cube), 3)
    root = doubling_high_multiply(root, jnp.full_like(x, _HALF_SQRT_2))
    significand = root << jnp.maximum(-shift, 0)
    one = x <= 1
    return jnp.where(one, 2**31 - 1, significand), jnp.where(one, 0, -jnp.maximum(shift, 0))


def _mean_square(square_sum: wide.Wide, width: int) -> wide.Wide:
    """Multiplies by ``2^20 / width``, rounded down, in factors below 2^16."""
    high, low = divmod((1 << 2 * FRAC_BITS) // width, 1 << 10)
    factors = [jnp.int32(factor) for factor in (high, 1 << 10, low)]
    upper = wide.multiply_by_uint16(wide.multiply_by_uint16(square_sum, factors[0]), factors[1])
    return wide.add(upper, wide.multiply_by_uint16(square_sum, factors[2]))
