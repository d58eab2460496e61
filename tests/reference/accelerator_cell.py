"""NumPy int64 oracle of the LSTM cell on every chip, written from the chips' descriptions.

The Ethos-U units are the NumPy player's (``rnnt_qat.export``), which another hand wrote and which
equals LiteRT; everything else is 64-bit arithmetic on whole integers.
"""

import numpy as np

from rnnt_qat.artefact.exponential_gates import exponential_sigmoid, exponential_tanh
from rnnt_qat.artefact.fused_lstm_units import LstmActivation, lstm_tanh
from rnnt_qat.artefact.sigmoid_table import logistic
from rnnt_qat.fixedpoint.multiplier import quantize_multiplier
from rnnt_qat.fixedpoint.rounding import Rounding
from tests.reference.fixedpoint_int64 import (
    divide,
    multiply_once_rounded,
    multiply_twice_rounded,
    saturate,
)

AWAY = Rounding.AWAY


def interpolated(function, x, frac_bits, entries, reach, out_bits=15):
    """A table of ``entries`` segments over [0, reach), odd about 0 or a half, ``Q0.out_bits``."""
    one = 2**out_bits
    nodes = np.floor(function(np.arange(entries + 1) * reach / entries) * one + 0.5)
    nodes = np.minimum(nodes, one - 1).astype(np.int64)
    step = reach * 2**frac_bits // entries
    magnitude = np.minimum(np.abs(x), reach * 2**frac_bits - 1)
    index, part = magnitude // step, magnitude % step
    value = divide(nodes[index] * (step - part) + nodes[index + 1] * part, step, AWAY)
    return np.where(x >= 0, value, (one if nodes[0] else 0) - value)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class GenericNna:
    def requantize(self, accumulator, ratio):
        return saturate(divide(accumulator, round(1 / ratio), AWAY), 16)

    def gate_sum(self, pre_x, accumulator, ratio):
        return saturate(pre_x + self.requantize(accumulator, ratio), 16)

    def sigmoid(self, x):
        return interpolated(sigmoid, x, 12, 256, 8)

    def tanh(self, x, frac_bits):
        return interpolated(np.tanh, x, frac_bits, 512, 16)

    def product(self, a, b, shift, bits):
        return saturate(divide(a * b, 2**shift, AWAY), bits)

    hidden_bits, hidden_shift = 8, 23


class Ethos8x8x16:
    def gate_sum(self, pre_x, accumulator, ratio):
        rescaled = multiply_twice_rounded(accumulator, *quantize_multiplier(ratio))
        return saturate(pre_x + rescaled, 16)

    def sigmoid(self, x):
        return exponential_sigmoid(x.astype(np.int16)).astype(np.int64)

    def tanh(self, x, frac_bits):
        return exponential_tanh(x.astype(np.int16), 15 - frac_bits).astype(np.int64)

    def product(self, a, b, shift, bits):
        if bits == 16:
            return saturate(divide(a * b, 2**shift, AWAY), 16)
        return saturate(multiply_twice_rounded(a * b, 2**30, 1 - shift), bits)

    hidden_bits, hidden_shift = 8, 23


class Ethos16x8:
    def gate_sum(self, pre_x, accumulator, ratio):
        rescaled = multiply_once_rounded(accumulator, *quantize_multiplier(ratio, 15), 15, AWAY)
        return saturate(pre_x + saturate(rescaled, 16), 16)

    def sigmoid(self, x):
        return logistic(x.astype(np.int16)).astype(np.int64)

    def tanh(self, x, frac_bits):
        table = LstmActivation.TABLE
        return lstm_tanh(x.astype(np.int16), 2.0**-frac_bits, table).astype(np.int64)

    def product(self, a, b, shift, bits):
        return saturate(multiply_twice_rounded(a * b, 2**30, 1 - shift), bits)

    hidden_bits, hidden_shift = 16, 15


def cell(chip, pre_x, accumulator, ratio, old_cell):
    """New hidden and cell state; pre-activations Q3.12 [B, 4H], cell Q4.11, gates Q0.15."""
    pre = chip.gate_sum(pre_x, accumulator, ratio)
    i, f, g, o = np.split(pre, 4, axis=-1)
    i, f, o, g = chip.sigmoid(i), chip.sigmoid(f), chip.sigmoid(o), chip.tanh(g, 12)
    kept, written = chip.product(f, old_cell, 15, 16), chip.product(i, g, 19, 16)
    new_cell = saturate(kept + written, 16)
    squashed = chip.tanh(new_cell, 11)
    return chip.product(o, squashed, chip.hidden_shift, chip.hidden_bits), new_cell
