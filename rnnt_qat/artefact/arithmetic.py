"""The integer arithmetic of the public runtimes, in NumPy alone.

LiteRT's reference kernels, TensorFlow Lite for Microcontrollers (TFLM) and Arm's Ethos-U share
their operators' contracts but not every rounding. Where they part, the choice is a field of
``RuntimeArithmetic`` and travels in the artefact; no comparison in this project uses a tolerance.

Arrays are int64 inside and have their format's dtype outside. Sources: the gemmlowp fixed-point
documentation (https://github.com/google/gemmlowp/blob/master/doc/quantization.md), the LiteRT
8-bit quantization specification, and the kernels' observed behaviour (tests/export).
"""

import enum
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact.exponential_gates import (
    exponential_sigmoid,
    exponential_tanh,
    exponential_tanh_int32,
)
from rnnt_qat.artefact.tensor_format import TensorFormat


class Requantization(enum.Enum):
    """How a dense layer's accumulator reaches its output format."""

    REAL_SCALE = "real_scale"
    """The accumulator times the float64 scale ratio, ties away from zero: LiteRT's reference."""
    MULTIPLIER = "multiplier"
    """Integer multiplier and shift: 31 bits and two roundings from an int32 accumulator, 15 bits
    and one rounding (ties towards +inf) from an int64 accumulator: TFLM."""


class LstmActivation(enum.Enum):
    """Sigmoid and tanh inside the fused LSTM."""

    EXPONENTIAL = "exponential"
    """gemmlowp's: exp by a barrel shifter, 1/(1+x) by Newton's iteration: LiteRT."""
    TABLE = "table"
    """The interpolated 256-entry table of the LOGISTIC and TANH operators: TFLM."""


@dataclass(frozen=True)
class RuntimeArithmetic:
    """Where two runtimes of one chip family differ.

    Attributes:
      requantization: of FULLY_CONNECTED.
      lstm_activation: of the fused LSTM.
      lstm_saturates_each_product: the fused LSTM saturates ``W_h h`` to int16 before it is added
        to ``W_x x + b``; else only the sum saturates.
      lstm_rounds_cell_twice: the fused LSTM's ``f c`` and ``i g`` go through a multiplier with two
        roundings; else through one rounding shift.
      single_precision_ratios: scale ratios of products are formed in float32, else in float64.
    """

    requantization: Requantization
    lstm_activation: LstmActivation
    lstm_saturates_each_product: bool
    lstm_rounds_cell_twice: bool
    single_precision_ratios: bool

    @property
    def is_tflm(self) -> bool:
        """Whether the runtime is TFLM, whose int8 TANH evaluates what LiteRT's looks up."""
        return self.requantization is Requantization.MULTIPLIER

    def ratio(self, first: float, second: float, output: float) -> float:
        """``first * second / output`` at this runtime's precision."""
        if self.single_precision_ratios:
            return float(np.float32(first) * np.float32(second) / np.float32(output))
        return first * second / output


LITERT = RuntimeArithmetic(
    requantization=Requantization.REAL_SCALE,
    lstm_activation=LstmActivation.EXPONENTIAL,
    lstm_saturates_each_product=False,
    lstm_rounds_cell_twice=False,
    single_precision_ratios=True,
)
TFLM = RuntimeArithmetic(
    requantization=Requantization.MULTIPLIER,
    lstm_activation=LstmActivation.TABLE,
    lstm_saturates_each_product=True,
    lstm_rounds_cell_twice=True,
    single_precision_ratios=False,
)


def dense(
    x: Integer[np.ndarray, "N K"],
    weights: Integer[np.ndarray, "M K"],
    bias: Integer[np.ndarray, "M"] | None,
    formats: tuple[TensorFormat, TensorFormat, TensorFormat],
    requantization: Requantization,
) -> Integer[np.ndarray, "N M"]:
    """FULLY_CONNECTED: ``x W^T + b`` from the input's through the weights' to the output's format.

    Args:
      x: int8 or int16 inputs.
      weights: int8 weights; their format may hold one scale an output.
      bias: at the product's scale.
      formats: of input, weights and output.
      requantization: of the accumulator.
    """
    input, weight, output = formats
    accumulator = accumulate(x, weights, input.zero_point)
    if bias is not None:
        accumulator += bias
    scales = np.float64(input.scale) * np.asarray(weight.scale, np.float64)
    if requantization is Requantization.REAL_SCALE:
        rescaled = round_half_away(accumulator * (scales / np.float64(output.scale)))
    else:
        rescaled = _rescale_by_multiplier(accumulator, input, weight, output)
    return saturate(rescaled + output.zero_point, output)


def accumulate(
    x: Integer[np.ndarray, "N K"], weights: Integer[np.ndarray, "M K"], zero_point: int
) -> Integer[np.ndarray, "N M"]:
    """``(x - zero_point) W^T`` in int64.

    The product is carried by float64, whose 53 bits hold every sum of int16 by int8 products of
    fewer than 2^30 inputs, and which runs on the machine's matrix routines.
    """
    shifted = x.astype(np.float64) - zero_point
    return (shifted @ weights.T.astype(np.float64)).astype(np.int64)


def add(
    a: np.ndarray, b: np.ndarray, formats: tuple[TensorFormat, TensorFormat, TensorFormat]
) -> np.ndarray:
    """ADD with general rescaling: both inputs shifted left, scaled to a common step, summed."""
    first, second, output = formats
    wide = np.dtype(first.dtype) == np.int16
    left_shift = 15 if wide else 20
    step = 2 * max(first.scale, second.scale)
    total = np.zeros((), np.int64)
    for values, format in ((a, first), (b, second)):
        shifted = (values.astype(np.int64) - format.zero_point) << left_shift
        total = total + multiply_by_multiplier(shifted, *quantize_multiplier(format.scale / step))
    multiplier = quantize_multiplier(step / (2.0**left_shift * output.scale))
    return saturate(multiply_by_multiplier(total, *multiplier) + output.zero_point, output)


def mul(
    a: np.ndarray,
    b: np.ndarray,
    formats: tuple[TensorFormat, TensorFormat, TensorFormat],
    arithmetic: RuntimeArithmetic,
) -> np.ndarray:
    """MUL: the product rescaled with two roundings."""
    first, second, output = formats
    product = (a.astype(np.int64) - first.zero_point) * (b.astype(np.int64) - second.zero_point)
    ratio = arithmetic.ratio(first.scale, second.scale, output.scale)
    rescaled = multiply_by_multiplier(product, *quantize_multiplier(ratio))
    return saturate(rescaled + output.zero_point, output)


def requantize(x: np.ndarray, source: TensorFormat, output: TensorFormat) -> np.ndarray:
    """QUANTIZE: the same real numbers in another integer format."""
    multiplier = quantize_multiplier(source.scale / output.scale)
    rescaled = multiply_by_multiplier(x.astype(np.int64) - source.zero_point, *multiplier)
    return saturate(rescaled + output.zero_point, output)


def logistic(x: Integer[np.ndarray, "*S"]) -> Integer[np.ndarray, "*S"]:
    """LOGISTIC of int16 Q3.12, to Q0.15, by the interpolated table."""
    stretched = 3 * x.astype(np.int64)
    magnitude = np.abs(stretched)
    index = np.minimum(magnitude >> 9, 254)
    low, high = _SIGMOID_TABLE[index], _SIGMOID_TABLE[index + 1]
    result = (low << 9) + (magnitude & 0x1FF) * (high - low)
    result = np.where(magnitude >> 9 >= 255, 0x7FFF << 10, result)
    result = np.where(stretched >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1)
    return (result >> 10).astype(np.int16)


def tanh(
    x: np.ndarray,
    source: TensorFormat,
    output: TensorFormat,
    arithmetic: RuntimeArithmetic = LITERT,
) -> np.ndarray:
    """TANH: of int16 by the interpolated table, of int8 by 256 answers of the runtime's own."""
    if np.dtype(source.dtype) == np.int8:
        answers = _tanh_int8_of_tflm if arithmetic.is_tflm else _tanh_int8
        return answers(source, output)[x.astype(np.int64) + 128]
    left_shift = 12 + round(math.log2(source.scale))
    if 2.0 ** (left_shift - 12) != source.scale or left_shift not in (0, 1):
        raise ValueError(f"int16 tanh takes a scale of 2^-12 or 2^-11, not {source.scale}")
    stretched = 3 * (x.astype(np.int64) << left_shift)
    return _tanh_by_table(stretched)


def lstm_sigmoid(
    x: Integer[np.ndarray, "*S"], activation: LstmActivation
) -> Integer[np.ndarray, "*S"]:
    """Sigmoid inside the fused LSTM: Q3.12 to Q0.15."""
    return logistic(x) if activation is LstmActivation.TABLE else exponential_sigmoid(x)


def lstm_tanh(
    x: Integer[np.ndarray, "*S"], scale: float, activation: LstmActivation
) -> Integer[np.ndarray, "*S"]:
    """Tanh inside the fused LSTM, of int16 at a power-of-two scale, to Q0.15."""
    power = round(math.log2(scale))
    if activation is LstmActivation.EXPONENTIAL:
        return exponential_tanh(x, integer_bits=15 + power)
    left_shift = power + 12
    if left_shift >= 0:
        return _tanh_by_table((3 << left_shift) * x.astype(np.int64))
    rounded = 3 * x.astype(np.int64) + (1 << (-left_shift - 1))
    return _tanh_by_table(rounded >> -left_shift)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """``real`` as ``mantissa * 2^(shift - 31)``, mantissa in [2^30, 2^31)."""
    fraction, shift = math.frexp(real)
    mantissa = int(round_half_away(np.asarray(fraction * 2.0**31)))
    if mantissa == 2**31:
        mantissa, shift = mantissa // 2, shift + 1
    return (mantissa, shift) if shift >= -31 else (0, 0)


def multiply_by_multiplier(x: np.ndarray, mantissa: int, shift: int) -> np.ndarray:
    """``x * mantissa * 2^(shift - 31)`` of int32 values, rounded twice (gemmlowp).

    First the doubling high multiply, ties away from zero on the positive side and towards zero on
    the negative; then the right shift, ties away from zero.
    """
    product = (x.astype(np.int64) << max(shift, 0)) * mantissa
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = _divide_towards_zero(product + nudge, 31)
    return rounding_divide_by_power_of_two(high, max(-shift, 0))


def rounding_divide_by_power_of_two(x: np.ndarray, exponent: int) -> np.ndarray:
    """``x / 2^exponent``, ties away from zero (gemmlowp's RoundingDivideByPOT)."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def round_half_away(x: np.ndarray) -> np.ndarray:
    """Nearest integer of float64 values, ties away from zero."""
    truncated = np.trunc(x)
    return (truncated + np.copysign(np.abs(x - truncated) >= 0.5, x)).astype(np.int64)


def saturate(x: np.ndarray, format: TensorFormat) -> np.ndarray:
    """Clipped to the format's dtype, in that dtype."""
    limits = np.iinfo(format.dtype)
    return np.clip(x, limits.min, limits.max).astype(format.dtype)


def _rescale_by_multiplier(
    accumulator: np.ndarray, input: TensorFormat, weight: TensorFormat, output: TensorFormat
) -> np.ndarray:
    scales = np.atleast_1d(np.asarray(weight.scale, np.float32))
    per_channel = weight.scale is not None and not np.isscalar(weight.scale)
    wide = np.dtype(input.dtype) == np.int16
    columns = []
    for column, scale in enumerate(scales):
        product = np.float32(input.scale) * scale
        mantissa, shift = quantize_multiplier(float(product) / float(output.scale))
        values = accumulator[..., column] if per_channel else accumulator
        if wide:
            reduced = (mantissa + (1 << 15)) >> 16 if mantissa < 0x7FFF0000 else 0x7FFF
            total_shift = 15 - shift
            if total_shift < 1:
                raise ValueError(
                    f"products at {float(product):.3g} cannot be stored in steps of "
                    f"{output.scale:.3g}: TFLM's 16-bit multiplier takes ratios below 2^14; give "
                    "the output a larger range"
                )
            columns.append((values * reduced + (1 << (total_shift - 1))) >> total_shift)
        else:
            columns.append(multiply_by_multiplier(values, mantissa, shift))
    return np.stack(columns, axis=-1) if per_channel else columns[0]


def _divide_towards_zero(x: np.ndarray, exponent: int) -> np.ndarray:
    return np.where(x >= 0, x >> exponent, -((-x) >> exponent))


def _tanh_by_table(stretched: np.ndarray) -> np.ndarray:
    """Tanh of 3/4-stretched input (2^17 stands for 10.7) as ``2 sigmoid(2x) - 1``."""
    magnitude = np.abs(stretched)
    index = np.minimum(magnitude >> 8, 254)
    low, high = _SIGMOID_TABLE[index], _SIGMOID_TABLE[index + 1]
    result = (low << 8) + (magnitude & 0xFF) * (high - low)
    result = np.where(magnitude >> 8 >= 255, 0xFFFF << 8, result)
    half = 1 << 7
    result = np.where(stretched >= 0, result - (1 << 23) + half, -result + (1 << 23) + half - 1)
    return (result >> 8).astype(np.int16)


def _tanh_int8(source: TensorFormat, output: TensorFormat) -> np.ndarray:
    """All 256 answers, computed in float32 as LiteRT fills its table."""
    values = np.arange(-128, 128).astype(np.float32) - np.float32(source.zero_point)
    real = np.tanh(np.float32(source.scale) * values)
    rescaled = round_half_away((real * np.float32(1 / output.scale)).astype(np.float64))
    return saturate(rescaled + output.zero_point, output)


def _tanh_int8_of_tflm(source: TensorFormat, output: TensorFormat) -> np.ndarray:
    """All 256 answers by gemmlowp's tanh of Q4.27 (micro/kernels/tanh.cc, reference Tanh)."""
    values = np.arange(-128, 128) - source.zero_point
    mantissa, shift = quantize_multiplier(source.scale * 2.0**27)
    radius = math.floor(15 * 2.0 ** (27 - shift))
    inside = np.clip(values, 1 - radius, radius - 1) if radius else 0 * values
    scaled = exponential_tanh_int32(multiply_by_multiplier(inside, mantissa, shift))
    answers = rounding_divide_by_power_of_two(scaled, 24)
    answers = np.where(values <= -radius, -128, np.where(values >= radius, 127, answers))
    return saturate(answers, output)


def _sigmoid_table() -> np.ndarray:
    """``sigmoid(i / 24)`` in Q0.16, raised so that linear interpolation errs equally both ways.

    A chord of a concave curve lies below it by at most ``h^2 |f''| / 8``; the table's points lie
    half of that above the curve. The last entry stands for everything beyond.
    """
    sigmoid = 1 / (1 + np.exp(-np.arange(256) / 24))
    curvature = sigmoid * (1 - sigmoid) * (2 * sigmoid - 1)
    table = np.floor(65536 * (sigmoid + curvature / (16 * 24**2)) + 0.5).astype(np.int64)
    table[-1] = 65535
    return table


_SIGMOID_TABLE = _sigmoid_table()
