"""NumPy int64 oracles of the fixed-point operators, from their definitions.

They know nothing of limbs, words or lanes: 64-bit integers, truncating or flooring division and
comparison of remainders. int64 holds everything that these tests ask for.
"""

import numpy as np

from rnnt_qat.fixedpoint.rounding import Rounding

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
_POWERS = 2 ** np.arange(31)
INT32_CORNERS = np.unique(
    np.concatenate([_POWERS - 1, _POWERS, -_POWERS, 1 - _POWERS, [INT32_MIN, INT32_MAX, 3, -3]])
)


def divide(x: np.ndarray, divisor: np.ndarray | int, rounding: Rounding) -> np.ndarray:
    """``x / divisor`` to an integer, for a positive even divisor or 1."""
    x = np.asarray(x, np.int64)
    quotient, remainder = np.floor_divide(x, divisor), np.mod(x, divisor)
    if rounding is Rounding.TRUNCATE:
        return quotient
    twice = 2 * remainder
    tie, above = twice == divisor, twice > divisor
    up = {
        Rounding.UP: tie,
        Rounding.AWAY: tie & (x > 0),
        Rounding.EVEN: tie & (quotient % 2 != 0),
    }[rounding]
    return quotient + (above | up)


def saturate(x: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(x, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def wrap(x: np.ndarray, bits: int) -> np.ndarray:
    return (np.asarray(x, np.int64) + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def doubling_high_multiply(a: np.ndarray, b: np.ndarray, bits: int = 32) -> np.ndarray:
    """gemmlowp's definition: a nudge of half, then division that truncates towards zero."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    half = 2 ** (bits - 2)
    nudged = product + np.where(product >= 0, half, 1 - half)
    quotient = np.sign(nudged) * (np.abs(nudged) // 2 ** (bits - 1))
    return saturate(quotient, bits)


def multiply_twice_rounded(x, significand, shift, rounding=Rounding.AWAY):
    shifted = wrap(np.asarray(x, np.int64) * 2 ** max(shift, 0), 32)
    return divide(doubling_high_multiply(shifted, significand), 2 ** max(-shift, 0), rounding)


def multiply_once_rounded(x, significand, shift, bits, rounding):
    product = np.asarray(x, np.int64) * np.int64(significand)
    return saturate(divide(product, 2 ** (bits - shift), rounding), 32)
