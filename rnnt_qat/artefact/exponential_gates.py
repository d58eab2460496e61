"""Sigmoid and tanh of LiteRT's fused integer LSTM: 16-bit fixed point without a table.

gemmlowp's algorithm (https://github.com/google/gemmlowp, fixedpoint.h): ``exp`` of the part below
1/4 by a fourth-order polynomial and of the rest by a barrel shifter of constants, then
``1 / (1 + x)`` or ``(1 - x) / (1 + x)`` by three Newton steps. Every product is the 16-bit
rounding doubling high multiply. Both functions are of one int16: all 65,536 answers are computed
once a format and kept.
"""

import functools
import math

import numpy as np
from jaxtyping import Int16

_ONE = 32767  # 1.0 in Q0.15 saturates


def exponential_sigmoid(x: Int16[np.ndarray, "*S"]) -> Int16[np.ndarray, "*S"]:
    """Q3.12 to Q0.15."""
    return _sigmoid_answers()[x.astype(np.int64) + 32768]


def exponential_tanh(x: Int16[np.ndarray, "*S"], integer_bits: int) -> Int16[np.ndarray, "*S"]:
    """Fixed point with ``integer_bits`` (0 to 6) before the point, to Q0.15."""
    if not 0 <= integer_bits <= 6:
        raise ValueError(f"tanh of the fused LSTM takes 0 to 6 integer bits, not {integer_bits}")
    return _tanh_answers(integer_bits)[x.astype(np.int64) + 32768]


@functools.cache
def _sigmoid_answers() -> np.ndarray:
    x = np.arange(-32768, 32768)
    negative = -np.abs(x)
    answer = _reciprocal(_exp_of_negative(negative, 3), minus_one=False)
    below = _ONE - answer
    return np.where(x == 0, 1 << 14, np.where(x > 0, answer, below)).astype(np.int16)


@functools.cache
def _tanh_answers(integer_bits: int) -> np.ndarray:
    x = np.arange(-32768, 32768)
    negative = -np.abs(x)
    # 2x: the same bits with one more integer bit.
    answer = _reciprocal(_exp_of_negative(negative, integer_bits + 1), minus_one=True)
    return np.where(x == 0, 0, np.where(x < 0, -answer, answer)).astype(np.int16)


def _exp_of_negative(x: np.ndarray, integer_bits: int) -> np.ndarray:
    """``exp(x)`` of x <= 0 with ``integer_bits``, to Q0.15."""
    fraction_bits = 15 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    remainder = (x & (quarter - 1)) - quarter  # in [-1/4, 0)
    result = _exp_below_quarter(remainder << integer_bits)
    rest = remainder - x
    for exponent in range(-2, integer_bits):
        if exponent > 4:
            break
        factor = _round_half_away(math.exp(-(2.0**exponent)) * 2.0**31)
        factor = (factor + (1 << 15)) >> 16
        bit = 1 << (fraction_bits + exponent)
        result = np.where(rest & bit, _high_multiply(result, factor), result)
    if integer_bits > 5:
        result = np.where(x < -(1 << (fraction_bits + 5)), 0, result)
    return np.where(x == 0, _ONE, result)


def _exp_below_quarter(x: np.ndarray) -> np.ndarray:
    """``exp(x)`` of x in [-1/4, 0), Q0.15 both: Taylor around -1/8."""
    at_centre = (_round_half_away(math.exp(-0.125) * 2.0**31) + (1 << 15)) >> 16
    third = (_round_half_away(2.0**31 / 3) + (1 << 15)) >> 16
    x = x + (1 << 12)
    x2 = _high_multiply(x, x)
    x3 = _high_multiply(x2, x)
    x4 = _high_multiply(x2, x2)
    series = _shift_right(_high_multiply(_shift_right(x4, 2) + x3, third) + x2, 1)
    return np.clip(at_centre + _high_multiply(x + series, at_centre), -32768, 32767)


def _reciprocal(x: np.ndarray, minus_one: bool) -> np.ndarray:
    """``1 / (1 + x)``, or ``(1 - x) / (1 + x)``, of x in [0, 1], Q0.15 both."""
    total = x + _ONE
    half_denominator = (total + np.sign(total)) // 2
    # Newton-Raphson division's start, 48/17 - 32/17 d, in Q2.13.
    offset = (_round_half_away(48 / 17 * 2.0**29) + (1 << 15)) >> 16
    slope = (_round_half_away(-32 / 17 * 2.0**29) + (1 << 15)) >> 16
    estimate = offset + _high_multiply(half_denominator, slope)
    for _ in range(3):
        error = (1 << 13) - _high_multiply(half_denominator, estimate)
        estimate = estimate + _saturating_left_shift(_high_multiply(estimate, error), 2)
    if minus_one:
        return _saturating_left_shift(estimate - (1 << 13), 2)
    return _saturating_left_shift(estimate, 1)


def _high_multiply(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """``a b / 2^15``, rounded: 16-bit rounding doubling high multiply."""
    product = np.asarray(a, np.int64) * b
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.where(nudged >= 0, nudged >> 15, -((-nudged) >> 15))


def _shift_right(x: np.ndarray, exponent: int) -> np.ndarray:
    mask = (1 << exponent) - 1
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))


def _saturating_left_shift(x: np.ndarray, exponent: int) -> np.ndarray:
    return np.clip(x << exponent, -32768, 32767)


def _round_half_away(x: float) -> int:
    return math.floor(abs(x) + 0.5) * (1 if x >= 0 else -1)
