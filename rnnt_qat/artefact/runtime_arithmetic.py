"""The integer arithmetic of the public runtimes, in NumPy alone.

LiteRT's reference kernels, TensorFlow Lite for Microcontrollers (TFLM) and Arm's Ethos-U implement
the same operators but round differently in places. Each difference is a field of
``RuntimeArithmetic``, which is stored in the artefact; no comparison in this project uses a
tolerance.

Sources: the LiteRT 8-bit quantization specification, and the observed behaviour of the kernels
(tests/export).
"""

import enum
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact import tanh_int8
from rnnt_qat.artefact.arithmetic import Formats
from rnnt_qat.artefact.fused_lstm_units import LstmActivation
from rnnt_qat.artefact.rescaled_operators import RescaledOperators
from rnnt_qat.artefact.rescaling import (
    accumulate,
    multiply_by_multiplier,
    quantize_multiplier,
    round_half_away,
    saturate,
)
from rnnt_qat.artefact.sigmoid_table import logistic, tanh_by_table
from rnnt_qat.artefact.tensor_format import TensorFormat


class Requantization(enum.Enum):
    """Conversion of a dense layer's accumulator to its output format."""

    REAL_SCALE = "real_scale"
    """Multiplication by the float64 scale ratio, ties away from zero: LiteRT's reference."""
    MULTIPLIER = "multiplier"
    """Integer multiplier and shift: TFLM.

    31 bits and two roundings for an int32 accumulator; 15 bits and one rounding (ties towards +inf)
    for an int64 accumulator.
    """


@dataclass(frozen=True)
class RuntimeArithmetic(RescaledOperators):
    """Differences between two runtimes of one chip family.

    Attributes:
      requantization: requantization of FULLY_CONNECTED.
      lstm_activation: sigmoid and tanh of the fused LSTM.
      lstm_saturates_each_product: whether the fused LSTM saturates ``W_h h`` to int16 before it is
        added to ``W_x x + b``; otherwise only the sum saturates.
      lstm_rounds_cell_twice: whether the fused LSTM's ``f c`` and ``i g`` go through a multiplier
        with two roundings; otherwise through one rounding shift.
      single_precision_ratios: whether scale ratios of products are computed in float32 instead of
        float64.
    """

    requantization: Requantization
    lstm_activation: LstmActivation
    lstm_saturates_each_product: bool
    lstm_rounds_cell_twice: bool
    single_precision_ratios: bool

    @property
    def is_tflm(self) -> bool:
        """Whether the runtime is TFLM, whose int8 TANH is computed where LiteRT's is a table."""
        return self.requantization is Requantization.MULTIPLIER

    @property
    def wide_accumulator_bits(self) -> int:
        """Width of the accumulator of int16 inputs, in which biases are part of the sum."""
        return 40

    def ratio(self, first: float, second: float, output: float) -> float:
        """Returns ``first * second / output`` at this runtime's precision."""
        if self.single_precision_ratios:
            return float(np.float32(first) * np.float32(second) / np.float32(output))
        return first * second / output

    def rescale(self, x: np.ndarray, ratio: float) -> np.ndarray:
        """Computes ``x * ratio`` by a 31-bit multiplier with two roundings.

        Args:
          x: int32 values, as int64.
          ratio: positive real ratio.
        """
        return multiply_by_multiplier(x, *quantize_multiplier(ratio))

    def dense(
        self,
        x: Integer[np.ndarray, "N K"],
        weights: Integer[np.ndarray, "M K"],
        bias: Integer[np.ndarray, "M"] | None,
        formats: Formats,
    ) -> Integer[np.ndarray, "N M"]:
        """Computes FULLY_CONNECTED: ``x W^T + b``.

        Args:
          x: int8 or int16 inputs.
          weights: int8 weights; their format may have one scale per output.
          bias: at the scale of the product.
          formats: formats of input, weights and output.

        Returns:
          Integers of the output's dtype.
        """
        input_format, weight_format, output_format = formats
        accumulator = accumulate(x, weights, bias, input_format.zero_point)
        scales = np.float64(input_format.scale) * np.asarray(weight_format.scale, np.float64)
        if self.requantization is Requantization.REAL_SCALE:
            rescaled = round_half_away(accumulator * (scales / np.float64(output_format.scale)))
        else:
            rescaled = _rescale_by_multiplier(accumulator, formats)
        return saturate(rescaled + output_format.zero_point, output_format)

    def logistic(self, x: np.ndarray, source: TensorFormat) -> np.ndarray:
        """Computes LOGISTIC of int16 Q3.12, the only input format of these layers, in Q0.15.

        Args:
          x: the integers.
          source: their format.
        """
        del source
        return logistic(x)

    def tanh(self, x: np.ndarray, source: TensorFormat, output: TensorFormat) -> np.ndarray:
        """Computes TANH: int16 by the interpolated table, int8 by the runtime's 256 results.

        Args:
          x: the integers.
          source: their format; for int16 a scale of 2^-12 or 2^-11.
          output: format of the result; for int16 always Q0.15.

        Raises:
          ValueError: the scale of an int16 input is not supported.
        """
        if np.dtype(source.dtype) == np.int8:
            results = tanh_int8.tflm_results if self.is_tflm else tanh_int8.litert_results
            return results(source, output)[x.astype(np.int64) + 128]
        left_shift = 12 + round(math.log2(source.scale))
        if 2.0 ** (left_shift - 12) != source.scale or left_shift not in (0, 1):
            raise ValueError(f"int16 tanh takes a scale of 2^-12 or 2^-11, not {source.scale}")
        stretched = 3 * (x.astype(np.int64) << left_shift)
        return tanh_by_table(stretched)


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


def _rescale_by_multiplier(accumulator: np.ndarray, formats: Formats) -> np.ndarray:
    input_format, weight_format, output_format = formats
    scales = np.atleast_1d(np.asarray(weight_format.scale, np.float32))
    per_channel = weight_format.scale is not None and not np.isscalar(weight_format.scale)
    wide = np.dtype(input_format.dtype) == np.int16
    columns = []
    for column, scale in enumerate(scales):
        product = np.float32(input_format.scale) * scale
        mantissa, shift = quantize_multiplier(float(product) / float(output_format.scale))
        values = accumulator[..., column] if per_channel else accumulator
        if wide:
            reduced = (mantissa + (1 << 15)) >> 16 if mantissa < 0x7FFF0000 else 0x7FFF
            total_shift = 15 - shift
            if total_shift < 1:
                raise ValueError(
                    f"products at {float(product):.3g} cannot be stored in steps of "
                    f"{output_format.scale:.3g}: TFLM's 16-bit multiplier takes ratios below 2^14; "
                    "give the output a larger range"
                )
            columns.append((values * reduced + (1 << (total_shift - 1))) >> total_shift)
        else:
            columns.append(multiply_by_multiplier(values, mantissa, shift))
    return np.stack(columns, axis=-1) if per_channel else columns[0]
