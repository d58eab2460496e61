"""NumPy int64 oracle of a whole recognizer on ``generic_nna``, written from the chip's description.

Every scale is a power of two, so that a requantization is one division that rounds ties away from
zero. Parameters and ranges are those of the frozen model; all arithmetic on them is here.
"""

import math

import numpy as np

from tests.reference.accelerator_cell import AWAY, GenericNna, cell, interpolated
from tests.reference.fixedpoint_int64 import divide, saturate

GATE_PRE, HIDDEN = 2.0**-12, 2.0**-7
PROJECTION = JOINT_PRE = 2.0**-12
INT8 = 8


def scale_of(max_abs, bits):
    """Of a calibrated format: a power of two whose integers reach ``max_abs``, or all but."""
    return 2.0 ** (math.ceil(math.log2(float(max_abs))) + 1 - bits)


def rescaled(accumulator, scale, result, bits=16):
    """An accumulator of 32 bits at a stored tensor's scale."""
    accumulator = saturate(accumulator, 32)
    if scale >= result:
        return saturate(accumulator * round(scale / result), bits)
    return saturate(divide(accumulator, round(result / scale), AWAY), bits)


def quantized(x, scale, bits=INT8):
    """Reals on a grid, ties away from zero."""
    x = np.asarray(x, np.float64) / scale
    return saturate(np.copysign(np.floor(np.abs(x) + 0.5), x), bits).astype(np.int64)


class Layer:
    """Parameters of one layer as int64, and its scales."""

    def __init__(self, params, ranges, weight_bits):
        self.params = {name: np.asarray(leaf, np.int64) for name, leaf in params.items()}
        self.ranges, self.weight_bits = ranges, weight_bits

    def product(self, x, x_scale, kernel="kernel", bias=True):
        """Accumulator and its scale."""
        total = x @ self.params[kernel] + (self.params["bias"] if bias else 0)
        return total, x_scale * scale_of(self.ranges[kernel], self.weight_bits)


def lstm(layer, xs, x_scale, hidden, old_cell):
    """``[B, T, D]`` to hidden states ``[B, T, H]`` and the last cell."""
    pre = rescaled(*layer.product(xs, x_scale, "input_kernel"), GATE_PRE)
    hiddens = []
    for t in range(xs.shape[1]):
        sums, scale = layer.product(hidden, HIDDEN, "recurrent_kernel", bias=False)
        hidden, old_cell = cell(GenericNna(), pre[:, t], sums, scale / GATE_PRE, old_cell)
        hiddens.append(hidden)
    return np.stack(hiddens, 1), old_cell


class GenericRecognizer:
    """Encoder, prediction network and joint of frozen variables.

    Args:
      variables: ``params`` and ``quant_stats``, of any encoder and an LSTM prediction network.
      layers_before_reduction: as the encoder's config.
      reduction: as the encoder's config.
      weight_bits: of the kernels.
    """

    def __init__(self, variables, layers_before_reduction, reduction, weight_bits=8):
        self._variables, self._weight_bits = variables, weight_bits
        self._reduce = layers_before_reduction, reduction

    def _layer(self, *path):
        params, ranges = self._variables["params"], self._variables["quant_stats"]
        for name in path:
            params, ranges = params[name], ranges[name]
        return Layer(params, ranges, self._weight_bits)

    def _stack(self, network, count, xs, x_scale, states, before=lambda index, xs: xs):
        """Hidden states of every layer, last cells, and the projection."""
        all_hiddens, cells = [], []
        for index in range(count):
            layer = self._layer(network, f"lstm_{index}")
            xs, last = lstm(layer, before(index, xs), x_scale, *states[index])
            x_scale = HIDDEN
            all_hiddens.append(xs)
            cells.append(last)
        projection = self._layer(network, "projection")
        return all_hiddens, cells, rescaled(*projection.product(xs, HIDDEN), PROJECTION)

    def encode(self, features, states):
        """From real features and a (hidden, cell) a layer."""
        first, factor = self._reduce
        scale = scale_of(self._layer("encoder", "lstm_0").ranges["input"], INT8)

        def reduced(index, xs):
            return xs.reshape(len(xs), -1, factor * xs.shape[2]) if index == first else xs

        xs = quantized(features, scale)
        return self._stack("encoder", len(states), xs, scale, states, reduced)

    def predict(self, labels, states):
        """From labels and a (hidden, cell) a layer."""
        scale = scale_of(self._layer("prediction", "lstm_0").ranges["input"], INT8)
        table = np.asarray(self._variables["params"]["prediction"]["embedding"], np.int64)
        return self._stack("prediction", len(states), table[labels], scale, states)

    def joint(self, encoded, predicted):
        """Hidden and logits of every pair: ``[B, T, U, J]`` and ``[B, T, U, V]``."""
        layer = self._layer("joint")
        total = saturate(encoded[:, :, None] + predicted[:, None], 16)
        hidden = interpolated(np.tanh, total, 12, 256, 8, out_bits=7)
        return hidden, rescaled(
            *layer.product(hidden, HIDDEN), scale_of(layer.ranges["logits"], 16)
        )
