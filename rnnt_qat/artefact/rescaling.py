"""Integer steps that all arithmetics share: products, multipliers, rounding, saturation.

Source: the gemmlowp fixed-point documentation
(https://github.com/google/gemmlowp/blob/master/doc/quantization.md).
"""

import functools
import math

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact.tensor_format import TensorFormat


def accumulate(
    x: Integer[np.ndarray, "N K"],
    weights: Integer[np.ndarray, "M K"],
    bias: Integer[np.ndarray, "M"] | None,
    zero_point: int,
) -> Integer[np.ndarray, "N M"]:
    """Computes ``(x - zero_point) W^T + b`` in int64.

    The product runs in float64, which uses the machine's matrix routines and whose 53 bits hold
    every sum of int16 by int8 products of fewer than 2^30 inputs.

    Args:
      x: int8 or int16 inputs.
      weights: int8 weights.
      bias: at the scale of the product; None for no bias.
      zero_point: integer of the input that stands for 0.
    """
    shifted = x.astype(np.float64) - zero_point
    product = (shifted @ weights.T.astype(np.float64)).astype(np.int64)
    return product if bias is None else product + bias


@functools.cache
def quantize_multiplier(real: float) -> tuple[int, int]:
    """Returns ``real`` as ``mantissa * 2^(shift - 31)``, with the mantissa in [2^30, 2^31)."""
    fraction, shift = math.frexp(real)
    mantissa = int(round_half_away(np.asarray(fraction * 2.0**31)))
    if mantissa == 2**31:
        mantissa, shift = mantissa // 2, shift + 1
    return (mantissa, shift) if shift >= -31 else (0, 0)


def multiply_by_multiplier(x: np.ndarray, mantissa: int, shift: int) -> np.ndarray:
    """Computes ``x * mantissa * 2^(shift - 31)`` of int32 values with two roundings (gemmlowp).

    The first is the doubling high multiply, with ties away from zero for positive products and
    towards zero for negative ones. The second is the right shift, with ties away from zero.

    Args:
      x: int32 values.
      mantissa: from ``quantize_multiplier``.
      shift: from ``quantize_multiplier``.
    """
    product = (x.astype(np.int64) << max(shift, 0)) * mantissa
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = _divide_towards_zero(product + nudge, 31)
    return rounding_divide_by_power_of_two(high, max(-shift, 0))


def rounding_divide_by_power_of_two(x: np.ndarray, exponent: int) -> np.ndarray:
    """Computes ``x / 2^exponent``, ties away from zero (gemmlowp's RoundingDivideByPOT)."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def round_half_away(x: np.ndarray) -> np.ndarray:
    """Rounds float64 values to the nearest integer, ties away from zero."""
    truncated = np.trunc(x)
    return (truncated + np.copysign(np.abs(x - truncated) >= 0.5, x)).astype(np.int64)


def saturate(x: np.ndarray, tensor_format: TensorFormat) -> np.ndarray:
    """Clips to the range of the format's dtype and casts to it."""
    return np.clip(x, *_range_of(tensor_format.dtype)).astype(tensor_format.dtype)


@functools.cache
def _range_of(dtype: np.dtype) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return limits.min, limits.max


def _divide_towards_zero(x: np.ndarray, exponent: int) -> np.ndarray:
    return np.where(x >= 0, x >> exponent, -((-x) >> exponent))
