"""Sigmoid and tanh inside the fused LSTM."""

import enum
import math

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact.exponential_gates import exponential_sigmoid, exponential_tanh
from rnnt_qat.artefact.sigmoid_table import logistic, tanh_by_table


class LstmActivation(enum.Enum):
    """Algorithm of both."""

    EXPONENTIAL = "exponential"
    """gemmlowp's algorithm, exp by a barrel shifter and 1/(1+x) by Newton's iteration: LiteRT."""
    TABLE = "table"
    """The interpolated 256-entry table of the LOGISTIC and TANH operators: TFLM."""


def lstm_sigmoid(
    x: Integer[np.ndarray, "*S"], activation: LstmActivation
) -> Integer[np.ndarray, "*S"]:
    """Computes the sigmoid inside the fused LSTM: Q3.12 to Q0.15."""
    return logistic(x) if activation is LstmActivation.TABLE else exponential_sigmoid(x)


def lstm_tanh(
    x: Integer[np.ndarray, "*S"], scale: float, activation: LstmActivation
) -> Integer[np.ndarray, "*S"]:
    """Computes the tanh inside the fused LSTM, to Q0.15.

    Args:
      x: int16 integers.
      scale: their scale, a power of two.
      activation: the runtime's algorithm.
    """
    power = round(math.log2(scale))
    if activation is LstmActivation.EXPONENTIAL:
        return exponential_tanh(x, integer_bits=15 + power)
    left_shift = power + 12
    if left_shift >= 0:
        return tanh_by_table((3 << left_shift) * x.astype(np.int64))
    rounded = 3 * x.astype(np.int64) + (1 << (-left_shift - 1))
    return tanh_by_table(rounded >> -left_shift)
