"""Sigmoid and tanh of int16 by the runtimes' interpolated table of 256 entries."""

import numpy as np
from jaxtyping import Int64, Integer


def logistic(x: Integer[np.ndarray, "*S"]) -> Integer[np.ndarray, "*S"]:
    """Computes LOGISTIC of int16 Q3.12 to Q0.15, by the interpolated table."""
    stretched = 3 * x.astype(np.int64)
    magnitude = np.abs(stretched)
    index = np.minimum(magnitude >> 9, 254)
    low, high = _SIGMOID_TABLE[index], _SIGMOID_TABLE[index + 1]
    result = (low << 9) + (magnitude & 0x1FF) * (high - low)
    result = np.where(magnitude >> 9 >= 255, 0x7FFF << 10, result)
    result = np.where(stretched >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1)
    return (result >> 10).astype(np.int16)


def tanh_by_table(stretched: Int64[np.ndarray, "*S"]) -> Integer[np.ndarray, "*S"]:
    """Computes tanh to Q0.15 as ``2 sigmoid(2x) - 1``.

    Args:
      stretched: three times the input in Q3.12, so that 2^17 stands for 10.7.
    """
    magnitude = np.abs(stretched)
    index = np.minimum(magnitude >> 8, 254)
    low, high = _SIGMOID_TABLE[index], _SIGMOID_TABLE[index + 1]
    result = (low << 8) + (magnitude & 0xFF) * (high - low)
    result = np.where(magnitude >> 8 >= 255, 0xFFFF << 8, result)
    half = 1 << 7
    result = np.where(stretched >= 0, result - (1 << 23) + half, -result + (1 << 23) + half - 1)
    return (result >> 8).astype(np.int16)


def _sigmoid_table() -> np.ndarray:
    """Returns ``sigmoid(i / 24)`` in Q0.16, raised to balance the errors of linear interpolation.

    A chord of a concave curve lies below it by at most ``h^2 |f''| / 8``; the points of the table
    lie half of that above the curve. The last entry stands for all larger inputs.
    """
    sigmoid = 1 / (1 + np.exp(-np.arange(256) / 24))
    curvature = sigmoid * (1 - sigmoid) * (2 * sigmoid - 1)
    table = np.floor(65536 * (sigmoid + curvature / (16 * 24**2)) + 0.5).astype(np.int64)
    table[-1] = 65535
    return table


_SIGMOID_TABLE = _sigmoid_table()
