"""The 256 results of an int8 TANH, as LiteRT and as TFLM compute them."""

import math

import numpy as np
from jaxtyping import Int8

from rnnt_qat.artefact.exponential_gates import exponential_tanh_int32
from rnnt_qat.artefact.rescaling import (
    multiply_by_multiplier,
    quantize_multiplier,
    round_half_away,
    rounding_divide_by_power_of_two,
    saturate,
)
from rnnt_qat.artefact.tensor_format import TensorFormat


def litert_results(source: TensorFormat, output: TensorFormat) -> Int8[np.ndarray, "256"]:
    """Returns the results in float32, with which LiteRT fills its table.

    Args:
      source: format of the input.
      output: format of the results.
    """
    values = np.arange(-128, 128).astype(np.float32) - np.float32(source.zero_point)
    real = np.tanh(np.float32(source.scale) * values)
    rescaled = round_half_away((real * np.float32(1 / output.scale)).astype(np.float64))
    return saturate(rescaled + output.zero_point, output)


def tflm_results(source: TensorFormat, output: TensorFormat) -> Int8[np.ndarray, "256"]:
    """Returns the results of gemmlowp's tanh of Q4.27 (TFLM, micro/kernels/tanh.cc, Tanh).

    Args:
      source: format of the input.
      output: format of the results.
    """
    values = np.arange(-128, 128) - source.zero_point
    mantissa, shift = quantize_multiplier(source.scale * 2.0**27)
    radius = math.floor(15 * 2.0 ** (27 - shift))
    inside = np.clip(values, 1 - radius, radius - 1) if radius else 0 * values
    scaled = exponential_tanh_int32(multiply_by_multiplier(inside, mantissa, shift))
    answers = rounding_divide_by_power_of_two(scaled, 24)
    answers = np.where(values <= -radius, -128, np.where(values >= radius, 127, answers))
    return saturate(answers, output)
