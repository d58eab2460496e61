"""Requantization: rescaling of an accumulator to the scale of the output."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from rnnt_qat.fixedpoint import multiplier as multipliers
from rnnt_qat.fixedpoint import wide
from rnnt_qat.fixedpoint.rounding import Rounding, rounding_shift_right
from rnnt_qat.fixedpoint.saturation import saturating_shift_left
from rnnt_qat.typing import Array, Float, Int

Sum = Any
"""An int32 array, or a ``Wide`` for an accumulator of more than 32 bits."""
Ratio = float | Float[Array, "..."]
"""A Python float if known on the host (which gives a shorter program), else a float32 array."""


def shift_left(x: Int[Array, "*S"], ratio: Ratio) -> Int[Array, "*S"]:
    """Computes ``x * ratio`` of int32, saturated; the ratio is a power of two of at least 1."""
    exponent = multipliers.exponent_of(ratio)
    if isinstance(exponent, int):
        return saturating_shift_left(x, min(exponent, 31)) if exponent else x
    return saturating_shift_left(x, jnp.minimum(exponent, 31))


def shift_right(x: Int[Array, "*S"], ratio: Ratio, rounding: Rounding) -> Int[Array, "*S"]:
    """Computes ``x * ratio`` of int32; the ratio is a power of two of at most 1.

    Args:
      x: int32.
      ratio: power of two. Below 2^-31 the result is 0, or -1 for negative ``x`` with truncation.
      rounding: rounding of the shift.

    Returns:
      int32.
    """
    places = -multipliers.exponent_of(ratio)
    if isinstance(places, int):
        if places > 31:
            return _sign_alone(x, rounding)
        return rounding_shift_right(x, places, rounding)
    shifted = rounding_shift_right(x, jnp.minimum(places, 31), rounding)
    return jnp.where(places > 31, _sign_alone(x, rounding), shifted)


@dataclass(frozen=True)
class ShiftRescale:
    """Rescaling by power-of-two ratios: a rounding shift right, or an exact shift left.

    Attributes:
      rounding: rounding of the right shift.
    """

    rounding: Rounding = Rounding.AWAY

    def __call__(self, x: Sum, ratio: Ratio) -> Int[Array, "*S"]:
        """Computes ``x * ratio``, saturated to int32.

        For ratios below 2^-31 (2^-62 for a ``Wide``) all bits are shifted out.

        Args:
          x: int32 or ``Wide``.
          ratio: power of two; a Python float, or float32 in a traced program.

        Returns:
          int32.
        """
        exponent = multipliers.exponent_of(ratio)
        if isinstance(exponent, int) and not isinstance(x, wide.Wide):
            if exponent > 0:
                return shift_left(x, ratio)
            return shift_right(x, ratio, self.rounding)
        if isinstance(x, wide.Wide):
            right = jnp.clip(-exponent, 0, 62)
            sign = _sign_alone(x.high, self.rounding)
            shifted = wide.saturate_to_int32(wide.rounding_shift_right(x, right, self.rounding))
        else:
            right = jnp.clip(-exponent, 0, 31)
            sign = _sign_alone(x, self.rounding)
            shifted = rounding_shift_right(x, right, self.rounding)
        shifted = jnp.where(-exponent > right, sign, shifted)
        return saturating_shift_left(shifted, jnp.clip(exponent, 0, 31))


@dataclass(frozen=True)
class DoubleRoundingRescale:
    """Rescaling by a 31-bit doubling high multiply and a rounding shift (gemmlowp, TFLite).

    Attributes:
      rounding: rounding of the shift.
    """

    rounding: Rounding = Rounding.AWAY

    def __call__(self, x: Int[Array, "*S"], ratio: Ratio) -> Int[Array, "*S"]:
        """Computes ``x * ratio`` as int32."""
        return multipliers.multiply_twice_rounded(
            x,
            multipliers.multiplier_of(ratio, 31, multipliers.SMALLEST_SHIFT),
            self.rounding,
        )


@dataclass(frozen=True)
class SingleRoundingRescale:
    """Rescaling by a multiplier of ``bits`` bits, with one rounding of the full product.

    Attributes:
      bits: width of the significand: 24 represents a float32 ratio exactly; accumulators wider than
        32 bits support at most 16.
      rounding: rounding of the product.
    """

    bits: int = 24
    rounding: Rounding = Rounding.AWAY

    def __post_init__(self):
        if not 2 <= self.bits <= 31:
            raise ValueError(f"SingleRoundingRescale.bits={self.bits}: a multiplier has 2 to 31")

    def __call__(self, x: Sum, ratio: Ratio) -> Int[Array, "*S"]:
        """Computes ``x * ratio`` as int32, saturated."""
        return multipliers.multiply_once_rounded(
            x, multipliers.multiplier_of(ratio, self.bits), self.bits, self.rounding
        )


Rescale = ShiftRescale | DoubleRoundingRescale | SingleRoundingRescale


def _sign_alone(x: Int[Array, "*S"], rounding: Rounding) -> Int[Array, "*S"]:
    """Returns the result of a right shift that removes all bits: -1 or 0 by sign, or 0."""
    return x >> 31 if rounding is Rounding.TRUNCATE else 0 * x
