"""The integer arithmetic of the Tensor Operator Set Architecture (TOSA), in NumPy alone.

It is that of the graphs to which Arm's converter lowers `.tflite` graphs with int16 activations and
int8 weights: RESCALE, TABLE, MUL and ADD of TOSA 1.0. Source: the pseudocode of the specification
(https://www.mlplatform.org/tosa/tosa_spec.html) and the lowered graphs (``verify.tosa``).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact.arithmetic import Formats
from rnnt_qat.artefact.rescaled_operators import RescaledOperators
from rnnt_qat.artefact.rescaling import accumulate, quantize_multiplier, round_half_away, saturate
from rnnt_qat.artefact.tensor_format import TensorFormat

_SEGMENTS, _FRACTION_BITS = 512, 7
"""Segments of an int16 TABLE, and bits of interpolation in each."""
_INT16 = TensorFormat(np.int16, 2.0**-15)


@dataclass(frozen=True)
class TosaArithmetic(RescaledOperators):
    """Operators of TOSA's integer profile with 16-bit activations."""

    @property
    def wide_accumulator_bits(self) -> int:
        """Width of the accumulator of int16 inputs."""
        return 48

    def rescale(self, x: np.ndarray, ratio: float) -> np.ndarray:
        """Computes RESCALE of int32 with a 31-bit multiplier and double rounding.

        A right shift of more than 31 bits also adds 2^30 in the direction of the sign.

        Args:
          x: int32 values, as int64.
          ratio: positive real ratio.
        """
        mantissa, left = quantize_multiplier(ratio)
        shift = 31 - left
        total = x.astype(np.int64) * mantissa + (1 << (shift - 1))
        if shift > 31:
            total = total + np.where(x >= 0, np.int64(1 << 30), np.int64(-(1 << 30)))
        return total >> shift

    def dense(
        self,
        x: Integer[np.ndarray, "N K"],
        weights: Integer[np.ndarray, "M K"],
        bias: Integer[np.ndarray, "M"] | None,
        formats: Formats,
    ) -> Integer[np.ndarray, "N M"]:
        """Computes CONV2D and RESCALE by 15 bits, rounded once with ties up.

        Args:
          x: int16 inputs.
          weights: int8 weights; their format may have one scale per output.
          bias: at the scale of the product.
          formats: formats of input, weights and output.
        """
        input_format, weight_format, output_format = formats
        accumulator = accumulate(x, weights, bias, input_format.zero_point)
        scales = np.float64(input_format.scale) * np.asarray(weight_format.scale, np.float64)
        fraction, exponent = np.frexp(scales / np.float64(output_format.scale))
        multiplier = round_half_away(fraction * 2.0**15)
        # RESCALE shifts by at least 2: a multiplier of 2^15, rounded up, is halved.
        exponent = exponent + (multiplier == 1 << 15)
        multiplier = np.where(multiplier == 1 << 15, 1 << 14, multiplier)
        shift = (15 - exponent).astype(np.int64)
        rescaled = (accumulator * multiplier + (np.int64(1) << (shift - 1))) >> shift
        return saturate(rescaled + output_format.zero_point, output_format)

    def logistic(self, x: np.ndarray, source: TensorFormat) -> np.ndarray:
        """Computes the sigmoid of int16 by a TABLE, in Q0.15.

        Args:
          x: the integers.
          source: their format, of a power-of-two scale.
        """
        return _by_table(x, _table(True, source.scale))

    def tanh(self, x: np.ndarray, source: TensorFormat, output: TensorFormat) -> np.ndarray:
        """Computes tanh of int16 by a TABLE, in Q0.15.

        Args:
          x: the integers.
          source: their format, of a power-of-two scale.
          output: format of the result, Q0.15.
        """
        del output
        return _by_table(x, _table(False, source.scale))


TOSA = TosaArithmetic()


@cache
def _table(is_logistic: bool, scale: float) -> Integer[np.ndarray, "513"]:
    """Returns the entries that Arm's converter writes, in Q0.15.

    Entry i is the function at ``127.998 i``, although TABLE reads it at ``128 i``. Each is moved by
    half of the chord's error in the middle of the segment to its right.

    Args:
      is_logistic: whether it is the sigmoid; else tanh.
      scale: real value of one step of the input.
    """
    step = (2**16 - 1) / _SEGMENTS

    def scaled(positions: np.ndarray) -> np.ndarray:
        real = scale * positions
        return 2.0**15 * (1 / (1 + np.exp(-real)) if is_logistic else np.tanh(real))

    positions = -(2.0**15) + step * np.arange(_SEGMENTS + 1)
    values = scaled(positions)
    entries = round_half_away(values)
    middles = round_half_away(scaled(positions[:-1] + step / 2))
    chords = round_half_away((values[1:] + entries[:-1]) / 2)
    entries[:-1] -= round_half_away((chords - middles) / 2)
    return np.clip(entries, -(2**15), 2**15 - 1)


def _by_table(x: np.ndarray, table: Integer[np.ndarray, "513"]) -> Integer[np.ndarray, "*S"]:
    """Interpolates; the RESCALE by 2^-7 that follows a TABLE rounds ties up."""
    index = (x.astype(np.int64) + 2**15) >> _FRACTION_BITS
    part = x.astype(np.int64) & ((1 << _FRACTION_BITS) - 1)
    slope = np.clip(table[index + 1] - table[index], -(2**15), 2**15 - 1)
    value = (table[index] << _FRACTION_BITS) + slope * part
    half = 1 << (_FRACTION_BITS - 1)
    return saturate((value + half) >> _FRACTION_BITS, _INT16)
