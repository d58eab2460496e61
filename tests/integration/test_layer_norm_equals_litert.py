"""Layer normalization in a chip's integers against the one inside LiteRT's fused LSTM.

No LiteRT operator normalizes integers alone, so one step of an LSTM does: its cell starts at 0 and
becomes ``sigmoid(LN(i)) * tanh(LN(g))``, stored with 15 fraction bits, which a deviation of one in
a normalized value changes. The gain and bias that LiteRT has and ``layer_norm`` leaves out are set
to 1 and 0.
"""

import jax
import numpy as np
import pytest

from rnnt_qat.artefact.layer_integers import GATE_NAMES, GATE_PRE
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.tflite_graph import GraphBuilder
from rnnt_qat.fixedpoint import layer_norm
from rnnt_qat.verify.runtimes import LiteRt
from tests.reference.accelerator_cell import Ethos8x8x16
from tests.reference.fixedpoint_int64 import saturate

INPUT, HIDDEN = TensorFormat(np.int8, 2.0**-5), TensorFormat(np.int8, 2.0**-7)
WEIGHT = TensorFormat(np.int8, 2.0**-10)
CELL = TensorFormat(np.int16, 2.0**-15)
# Of the smaller powers of two: LiteRT replaces a variance of 0 by 10^4 times this, if above 1.
GAIN = TensorFormat(np.int16, 2.0**-13)
RATIO = INPUT.scale * WEIGHT.scale / GATE_PRE.scale
"""Scale of an accumulator over that of a value before normalization."""


def normalized_lstm(weights: np.ndarray, rows: int) -> bytes:
    """A graph of one step of rows of the fused LSTM with layer norm; weights ``[4, H, D]``."""
    _, width, inputs = weights.shape
    graph = GraphBuilder("normalized_lstm")
    x = graph.input("x", (rows, 1, inputs), INPUT)
    kernels = [
        graph.constant(f"w_ih_{g}", w, WEIGHT) for g, w in zip(GATE_NAMES, weights, strict=True)
    ]
    zeros = np.zeros((width, width), np.int8)
    recurrent = [graph.constant(f"w_hh_{g}", zeros, WEIGHT) for g in GATE_NAMES]
    bias_format = TensorFormat(np.int32, GAIN.scale * 2.0**-layer_norm.FRAC_BITS)
    biases = [
        graph.constant(f"bias_{g}", np.zeros(width, np.int32), bias_format) for g in GATE_NAMES
    ]
    one = np.full(width, round(1 / GAIN.scale), np.int16)
    gains = [graph.constant(f"gain_{g}", one, GAIN) for g in GATE_NAMES]
    states = [
        graph.variable("hidden", (rows, width), HIDDEN),
        graph.variable("cell", (rows, width), CELL),
    ]
    pres = [graph.intermediate(f"pre_{g}", GATE_PRE) for g in GATE_NAMES]
    inputs = [x, *kernels, *recurrent, *[None] * 3, *biases, *[None] * 2, *states, *gains]
    y = graph.unidirectional_sequence_lstm(inputs, [*pres, graph.intermediate("out", HIDDEN)], "y")
    return graph.finish([y])


def problem(width: int):
    """Weights and inputs whose products fill 16 bits, in rows of every spread and mean."""
    rng = np.random.default_rng(width)
    weights = rng.integers(-127, 128, (4, width, 17)).astype(np.int8)
    weights[..., -1] = 127  # the last input moves the mean of a row
    xs = rng.integers(-128, 128, (200, 17)) >> rng.integers(0, 8, (200, 1))
    xs[:, -1] = rng.integers(-128, 128, 200) * rng.integers(0, 2, 200)
    xs[:2, :-1] = 0  # rows that are constant
    return weights, xs.astype(np.int8)


@pytest.mark.parametrize("width", [7, 64, 100, 640])
def test_normalizes_as_the_fused_lstm_of_litert(width):
    weights, xs = problem(width)
    runtime = LiteRt(normalized_lstm(weights, len(xs)))
    runtime.run(xs[:, None])

    chip = Ethos8x8x16()
    sums = np.einsum("bd,ghd->gbh", xs.astype(np.int64), weights.astype(np.int64))
    pre = chip.gate_sum(0, sums, RATIO)
    normalized = jax.jit(layer_norm.normalize, static_argnums=1)(pre.astype(np.int32), 16)
    i, _, g, _ = saturate(np.asarray(normalized, np.int64) << 2, 16)  # 10 to 12 fraction bits
    expected = chip.product(chip.sigmoid(i), chip.tanh(g, 12), 15, 16)
    assert np.asarray(normalized).std() > 500
    np.testing.assert_array_equal(runtime.tensor("cell"), expected)
