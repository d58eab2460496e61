"""NumPy int64 oracle of a recognizer on any chip of our own design, from the fields of its spec.

What it reads of the spec are numbers and names (bits, fractions, entries, lines, kinds of
rounding); all arithmetic is here and in the other oracles: divisions with remainders, comparisons
and 64-bit sums.
"""

import math

import numpy as np

from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AddGrid
from rnnt_qat.fixedpoint.interpolated_table import InterpolatedTable
from rnnt_qat.fixedpoint.requantize import DoubleRoundingRescale, ShiftRescale
from rnnt_qat.fixedpoint.saturation import Overflow
from tests.reference import units_int64
from tests.reference.fixedpoint_int64 import (
    divide,
    multiply_once_rounded,
    multiply_twice_rounded,
    saturate,
    wrap,
)


def significand_of(ratio, bits):
    fraction, shift = math.frexp(ratio)
    significand = math.floor(math.ldexp(fraction, bits) + 0.5)
    return (significand // 2, shift + 1) if significand == 2**bits else (significand, shift)


class DesignRecognizer:
    """Encoder, prediction network and joint of frozen variables; one LSTM each.

    Args:
      spec: the chip, of ``AddGrid.RESULT``.
      variables: ``params`` and ``quant_stats``.
    """

    def __init__(self, spec, variables):
        assert spec.add_grid is AddGrid.RESULT
        self._spec, self._variables = spec, variables

    def encode(self, features, state):
        layer = self._layer("encoder", "lstm_0")
        scale = self._scale(Role.INPUT, layer["input"])
        xs = self._quantized(features, scale, Role.INPUT)
        return self._lstm_and_projection("encoder", xs, scale, state)

    def predict(self, labels, state):
        layer = self._layer("prediction", "lstm_0")
        table = self._layer("prediction")["embedding"]
        scale = self._scale(Role.INPUT, layer["input"])
        return self._lstm_and_projection("prediction", table[labels], scale, state)

    def joint(self, encoded, predicted):
        layer = self._layer("joint")
        encoded, predicted = (self._addend(x) for x in (encoded, predicted))
        total = self._bring(encoded[:, :, None] + predicted[:, None], Role.JOINT_PRE)
        hidden = self._unit("tanh", Role.JOINT_HIDDEN, total, Role.JOINT_PRE)
        sums, scale = self._product(layer, hidden, self._fixed(Role.JOINT_HIDDEN), "kernel")
        return self._written(sums, scale, Role.LOGITS, self._scale(Role.LOGITS, layer["logits"]))

    def _lstm_and_projection(self, network, xs, x_scale, state):
        layer = self._layer(network, "lstm_0")
        hidden, cell = state
        pre_scale, hidden_scale = self._fixed(Role.GATE_PRE), self._fixed(Role.HIDDEN)
        sums, scale = self._product(layer, xs, x_scale, "input_kernel")
        pre_x = self._written(sums, scale, Role.GATE_PRE, pre_scale)
        hiddens = []
        for t in range(xs.shape[1]):
            sums, scale = self._product(layer, hidden, hidden_scale, "recurrent_kernel", False)
            recurrent = self._rescaled(sums, scale, Role.GATE_PRE, pre_scale)
            if not self._spec.fused_gate_sum:
                recurrent = self._bring(recurrent, Role.GATE_PRE)
            pre = self._bring(pre_x[:, t] + recurrent, Role.GATE_PRE)
            i, f, g, o = np.split(pre, 4, axis=-1)
            i, f, o = (self._unit("sigmoid", Role.GATE, x, Role.GATE_PRE) for x in (i, f, o))
            g = self._unit("tanh", Role.GATE, g, Role.GATE_PRE)
            gate, held = self._fixed(Role.GATE), self._fixed(Role.CELL)
            kept = self._written(f * cell, gate * held, Role.CELL, held)
            cell = self._bring(kept + self._written(i * g, gate**2, Role.CELL, held), Role.CELL)
            squashed = self._unit("tanh", Role.GATE, cell, Role.CELL)
            hidden = self._written(o * squashed, gate**2, Role.HIDDEN, hidden_scale)
            hiddens.append(hidden)
        projection = self._layer(network, "projection")
        xs = self._moved(np.stack(hiddens, 1), projection)
        sums, scale = self._product(projection, *xs, "kernel")
        projected = self._written(sums, scale, Role.PROJECTION, self._fixed(Role.PROJECTION))
        return projected, cell

    def _moved(self, hiddens, layer):
        """A layer's input and its scale: stored anew where inputs have other bits than states."""
        held, bits = (self._spec.tensor(role).format.bits for role in (Role.HIDDEN, Role.INPUT))
        if held == bits:
            return hiddens, self._fixed(Role.HIDDEN)
        scale = self._scale(Role.INPUT, layer["input"])
        ratio = float(np.float32(self._fixed(Role.HIDDEN)) / np.float32(scale))
        moved = self._rescaled_alike(hiddens, ratio, self._spec.move_rescale)
        return self._bring(moved, Role.INPUT), scale

    def _addend(self, projected):
        """A projection on the grid of the joint's sum, where the addends meet."""
        ratio = self._fixed(Role.PROJECTION) / self._fixed(Role.JOINT_PRE)
        return self._rescaled_alike(projected, ratio, ShiftRescale(self._spec.add_rounding))

    def _layer(self, *path):
        params, ranges = self._variables["params"], self._variables["quant_stats"]
        for name in path:
            params, ranges = params[name], ranges.get(name, {})
        leaves = {name: leaf for name, leaf in params.items() if not isinstance(leaf, dict)}
        found = {name: _int64(leaf) for name, leaf in leaves.items()}
        return found | {
            f"{name} range" if name in found else name: np.asarray(leaf, np.float32)
            for name, leaf in ranges.items()
            if not isinstance(leaf, dict)
        }

    def _product(self, layer, x, x_scale, kernel, bias=True):
        """Sums in the accumulator, tile by tile, and their scale."""
        w, accumulator = layer[kernel], self._spec.accumulator
        size = accumulator.tile or len(w)
        total = self._in_accumulator(layer["bias"]) if bias else np.zeros((), np.int64)
        if accumulator.tile is None:
            total = total + x @ w
            total = self._in_accumulator(saturate(total, 32) if accumulator.bits <= 32 else total)
        else:
            for k in range(0, len(w), size):
                total = self._in_accumulator(total + x[..., k : k + size] @ w[k : k + size])
        w_scale = self._scale(Role.WEIGHT, layer[f"{kernel} range"])
        if w_scale.ndim:  # one a column, or one a gate
            w_scale = np.repeat(w_scale, w.shape[1] // len(w_scale))
        return total, np.float32(w_scale) * np.float32(x_scale)

    def _in_accumulator(self, total):
        accumulator = self._spec.accumulator
        if accumulator.bits > 32:
            return total
        return (saturate if accumulator.overflow is Overflow.SATURATE else wrap)(
            total, accumulator.bits
        )

    def _written(self, x, scale, role, result):
        return self._bring(self._rescaled(x, scale, role, result), role)

    def _bring(self, x, role):
        bits = self._spec.tensor(role).format.bits
        return (saturate if self._spec.overflow is Overflow.SATURATE else wrap)(x, bits)

    def _rescaled(self, x, scale, role, result):
        """By columns where the scale has some."""
        operator, scale = self._spec.tensor(role).rescale, np.asarray(scale, np.float32)
        if not scale.ndim:
            return self._rescaled_alike(x, float(scale / np.float32(result)), operator)
        columns = [
            self._rescaled_alike(x[..., n], float(each / np.float32(result)), operator)
            for n, each in enumerate(scale)
        ]
        return np.stack(columns, -1)

    def _rescaled_alike(self, x, ratio, operator):
        if isinstance(operator, ShiftRescale):
            if ratio >= 1:
                return saturate(x * round(ratio), 32)
            return divide(x, round(1 / ratio), operator.rounding)
        if isinstance(operator, DoubleRoundingRescale):
            return multiply_twice_rounded(x, *significand_of(ratio, 31), operator.rounding)
        bits = operator.bits
        return multiply_once_rounded(x, *significand_of(ratio, bits), bits, operator.rounding)

    def _unit(self, name, role, x, read):
        unit = getattr(self._spec.tensor(role), name)
        frac_bits, out_bits = (self._spec.tensor(r).format.frac_bits for r in (read, role))
        if isinstance(unit, InterpolatedTable):
            evaluate = units_int64.interpolated if unit.interpolate else units_int64.nearest
            sizes = {"entries": 2**unit.entries_bits, "reach": 2**unit.range_bits}
            return evaluate(unit, x, frac_bits, out_bits=out_bits, **sizes)
        return units_int64.lines(unit, x, frac_bits, lines=unit.lines)

    def _fixed(self, role):
        return 2.0 ** -self._spec.tensor(role).format.frac_bits

    def _scale(self, role, max_abs):
        """Of a calibrated format."""
        tensor = self._spec.tensor(role)
        if tensor.power_of_two:
            return np.exp2(np.ceil(np.log2(max_abs)) + 1 - tensor.format.bits)
        steps = np.float32(2 ** (tensor.format.bits - 1) - 1)
        fraction, exponent = np.frexp(np.asarray(max_abs, np.float32) / steps)
        return np.ldexp(
            np.ceil(fraction * 2.0**tensor.scale_bits) / 2.0**tensor.scale_bits, exponent
        )

    def _quantized(self, x, scale, role):
        x = np.asarray(x, np.float32) / np.float32(scale)
        bits = self._spec.tensor(role).format.bits
        return saturate(np.copysign(np.floor(np.abs(x) + 0.5), x), bits).astype(np.int64)


def _int64(leaf):
    if isinstance(leaf, tuple):  # two words of a wide bias
        return np.asarray(leaf[0], np.int64) * 2**32 + np.asarray(leaf[1], np.int64)
    return np.asarray(leaf, np.int64)
