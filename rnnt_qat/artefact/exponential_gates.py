"""Sigmoid and tanh in fixed point without a table: LiteRT's fused LSTM and TFLM's int8 TANH.

gemmlowp's algorithm (https://github.com/google/gemmlowp, fixedpoint.h) computes ``exp`` of the part
below 1/4 by a fourth-order polynomial and of the rest by a barrel shifter of constants, then ``1 /
(1 + x)`` or ``(1 - x) / (1 + x)`` by three Newton steps. Every product is the rounding doubling
high multiply of the word: 16 bits in the LSTM, 32 bits in TANH. The functions of the LSTM take one
int16, so all 65,536 results are computed once per format and cached.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int16, Int64


def exponential_sigmoid(x: Int16[np.ndarray, "*S"]) -> Int16[np.ndarray, "*S"]:
    """Computes the sigmoid of Q3.12, to Q0.15."""
    return _sigmoid_answers()[x.astype(np.int64) + 32768]


def exponential_tanh(x: Int16[np.ndarray, "*S"], integer_bits: int) -> Int16[np.ndarray, "*S"]:
    """Computes tanh of a fixed-point number, to Q0.15.

    Args:
      x: int16 integers.
      integer_bits: integer bits of ``x``, 0 to 6.

    Raises:
      ValueError: ``integer_bits`` is out of range.
    """
    if not 0 <= integer_bits <= 6:
        raise ValueError(f"tanh of the fused LSTM takes 0 to 6 integer bits, not {integer_bits}")
    return _tanh_answers(integer_bits)[x.astype(np.int64) + 32768]


def exponential_tanh_int32(x: Int64[np.ndarray, "*S"]) -> Int64[np.ndarray, "*S"]:
    """Computes tanh of Q4.27, to Q0.31; both are int32 values in int64 arrays."""
    return _WORD32.tanh(x, 4)


@functools.cache
def _sigmoid_answers() -> np.ndarray:
    return _WORD16.sigmoid(np.arange(-32768, 32768), 3).astype(np.int16)


@functools.cache
def _tanh_answers(integer_bits: int) -> np.ndarray:
    return _WORD16.tanh(np.arange(-32768, 32768), integer_bits).astype(np.int16)


@dataclass(frozen=True)
class _Word:
    """The algorithm on words of a given width; ``Qm`` has m integer bits and the others after them.

    Attributes:
      bits: width of a word, with the sign.
    """

    bits: int

    @property
    def one(self) -> int:
        """1 in Q0, saturated."""
        return 2 ** (self.bits - 1) - 1

    def sigmoid(self, x: np.ndarray, integer_bits: int) -> np.ndarray:
        """Computes the sigmoid of Q``integer_bits``, to Q0."""
        exponential = self._exp_of_negative(-np.abs(x), integer_bits)
        answer = self._reciprocal(exponential, minus_one=False)
        half = 1 << (self.bits - 2)
        return np.where(x == 0, half, np.where(x > 0, answer, self.one - answer))

    def tanh(self, x: np.ndarray, integer_bits: int) -> np.ndarray:
        """Computes tanh of Q``integer_bits``, to Q0."""
        # The same bits stand for 2x with one more integer bit.
        exponential = self._exp_of_negative(-np.abs(x), integer_bits + 1)
        answer = self._reciprocal(exponential, minus_one=True)
        return np.where(x == 0, 0, np.where(x < 0, -answer, answer))

    def _constant(self, real: float, integer_bits: int = 0) -> int:
        """Returns a real number in Q``integer_bits``, rounded to 32 bits and then to the word."""
        in_32_bits = _round_half_away(real * 2.0 ** (31 - integer_bits))
        return in_32_bits if self.bits == 32 else (in_32_bits + (1 << 15)) >> 16

    def _exp_of_negative(self, x: np.ndarray, integer_bits: int) -> np.ndarray:
        """Computes ``exp(x)`` of x <= 0 in Q``integer_bits``, to Q0."""
        fraction_bits = self.bits - 1 - integer_bits
        quarter = 1 << (fraction_bits - 2)
        remainder = (x & (quarter - 1)) - quarter  # in [-1/4, 0)
        result = self._exp_below_quarter(remainder << integer_bits)
        rest = remainder - x
        for exponent in range(-2, min(integer_bits, 5)):
            factor = self._constant(math.exp(-(2.0**exponent)))
            bit = 1 << (fraction_bits + exponent)
            result = np.where(rest & bit, self._high_multiply(result, factor), result)
        if integer_bits > 5:
            result = np.where(x < -(1 << (fraction_bits + 5)), 0, result)
        return np.where(x == 0, self.one, result)

    def _exp_below_quarter(self, x: np.ndarray) -> np.ndarray:
        """Computes ``exp(x)`` of x in [-1/4, 0), both Q0, by a Taylor series around -1/8."""
        at_centre, third = self._constant(math.exp(-0.125)), self._constant(1 / 3)
        x = x + (1 << (self.bits - 4))
        x2 = self._high_multiply(x, x)
        x3 = self._high_multiply(x2, x)
        x4 = self._high_multiply(x2, x2)
        series = self._high_multiply(_shift_right(x4, 2) + x3, third) + x2
        product = self._high_multiply(x + _shift_right(series, 1), at_centre)
        return self._saturate(at_centre + product)

    def _reciprocal(self, x: np.ndarray, minus_one: bool) -> np.ndarray:
        """Computes ``1 / (1 + x)`` or ``(1 - x) / (1 + x)`` of x in [0, 1], both Q0."""
        total = x + self.one
        half_denominator = (total + np.sign(total)) // 2
        # The initial estimate of Newton-Raphson division, 48/17 - 32/17 d, in Q2.
        slope = self._constant(-32 / 17, 2)
        estimate = self._constant(48 / 17, 2) + self._high_multiply(half_denominator, slope)
        one = 1 << (self.bits - 3)
        for _ in range(3):
            error = one - self._high_multiply(half_denominator, estimate)
            estimate = estimate + self._saturate(self._high_multiply(estimate, error) << 2)
        return self._saturate((estimate - one) << 2 if minus_one else estimate << 1)

    def _high_multiply(self, a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
        """Computes ``a b / 2^(bits - 1)``, rounded: the rounding doubling high multiply."""
        product, places = np.asarray(a, np.int64) * b, self.bits - 1
        half = 1 << (places - 1)
        nudged = product + np.where(product >= 0, half, 1 - half)
        return np.where(nudged >= 0, nudged >> places, -((-nudged) >> places))

    def _saturate(self, x: np.ndarray) -> np.ndarray:
        return np.clip(x, -self.one - 1, self.one)


_WORD16, _WORD32 = _Word(16), _Word(32)


def _shift_right(x: np.ndarray, exponent: int) -> np.ndarray:
    mask = (1 << exponent) - 1
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))


def _round_half_away(x: float) -> int:
    return math.floor(abs(x) + 0.5) * (1 if x >= 0 else -1)
