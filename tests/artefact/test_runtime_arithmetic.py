"""Each operator of the player against the runtimes' own, exhaustively where its inputs allow."""

from functools import partial

import numpy as np
import pytest

from rnnt_qat.artefact.fused_lstm_units import LstmActivation, lstm_sigmoid, lstm_tanh
from rnnt_qat.artefact.layer_integers import GATE, GATE_PRE, LstmIntegers
from rnnt_qat.artefact.rescaling import rounding_divide_by_power_of_two
from rnnt_qat.artefact.runtime_arithmetic import LITERT, TFLM
from rnnt_qat.artefact.sigmoid_table import logistic
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.lstm_graphs import dense_graph, fused_lstm
from rnnt_qat.export.tflite_graph import GraphBuilder
from rnnt_qat.verify.runtimes import LiteRt, Tflm
from tests.export.random_integers import random_dense

RUNTIMES = pytest.mark.parametrize("runtime", [LiteRt, Tflm], ids=["litert", "tflm"])
ALL_INT16 = np.arange(-32768, 32768).astype(np.int16).reshape(1, -1)
ALL_INT8 = np.arange(-128, 128).astype(np.int8).reshape(1, -1)


def run(runtime, formats, arrays, add_operator):
    """One operator in a graph of its own."""
    graph = GraphBuilder("one")
    inputs = [
        graph.input(f"x{n}", array.shape, tensor_format)
        for n, (array, tensor_format) in enumerate(zip(arrays, formats, strict=True))
    ]
    output = add_operator(graph, *inputs)
    (result,) = runtime(graph.finish([output])).run(*arrays)
    return result


@RUNTIMES
def test_logistic_of_every_int16(runtime):
    theirs = run(runtime, [GATE_PRE], [ALL_INT16], lambda g, x: g.logistic(x, GATE, "y"))
    np.testing.assert_array_equal(logistic(ALL_INT16), theirs)


@RUNTIMES
@pytest.mark.parametrize("power", [-12, -11])
def test_tanh_of_every_int16(runtime, power):
    source = TensorFormat(np.int16, 2.0**power)
    theirs = run(runtime, [source], [ALL_INT16], lambda g, x: g.tanh(x, GATE, "y"))
    np.testing.assert_array_equal(LITERT.tanh(ALL_INT16, source, GATE), theirs)


@pytest.mark.parametrize("source", [(2.0**-4, 0), (2.0**-5, 0), (0.031, 7)])
def test_tanh_of_every_int8_is_litert_s(source):
    source, output = TensorFormat(np.int8, *source), TensorFormat(np.int8, 2.0**-7)
    theirs = run(LiteRt, [source], [ALL_INT8], lambda g, x: g.tanh(x, output, "y"))
    np.testing.assert_array_equal(LITERT.tanh(ALL_INT8, source, output), theirs)


@RUNTIMES
def test_add_of_every_pair_of_int8(runtime):
    a, b = np.meshgrid(ALL_INT8[0], ALL_INT8[0])
    for scales in ((2.0**-5, 2.0**-5, 2.0**-4), (2.0**-5, 2.0**-7, 2.0**-6), (0.03, 0.07, 0.05)):
        formats = [TensorFormat(np.int8, s, z) for s, z in zip(scales, (0, 3, -2), strict=True)]
        theirs = run(
            runtime, formats[:2], [a, b], partial(GraphBuilder.add, out=formats[2], name="z")
        )
        np.testing.assert_array_equal(LITERT.add(a, b, tuple(formats)), theirs)


@RUNTIMES
def test_add_and_mul_of_int16_up_to_saturation(runtime):
    rng = np.random.default_rng(0)
    a, b = rng.integers(-32768, 32768, (2, 1, 200_000)).astype(np.int16)
    a[0, :4], b[0, :4] = (-32768, 32767, -32768, 0), (-32768, 32767, 32767, -32768)
    cell = TensorFormat(np.int16, 2.0**-11)
    theirs = run(runtime, [cell, cell], [a, b], lambda g, x, y: g.add(x, y, cell, "z"))
    np.testing.assert_array_equal(LITERT.add(a, b, (cell, cell, cell)), theirs)
    arithmetic = LITERT if runtime is LiteRt else TFLM
    for formats in ((GATE, cell, cell), (GATE, GATE, cell), (GATE, GATE, GATE)):
        theirs = run(
            runtime,
            formats[:2],
            [a, b],
            partial(GraphBuilder.mul, out=formats[2], name="z"),
        )
        np.testing.assert_array_equal(arithmetic.mul(a, b, formats), theirs)


@RUNTIMES
def test_requantize_between_formats(runtime):
    wide = TensorFormat(np.int16, 2.0**-15)
    for source, output, x in (
        (wide, TensorFormat(np.int16, 2.0**-12), ALL_INT16),
        (wide, TensorFormat(np.int16, 0.00021), ALL_INT16),
        (TensorFormat(np.int8, 0.03, 4), TensorFormat(np.int8, 0.05, -9), ALL_INT8),
    ):
        theirs = run(runtime, [source], [x], partial(GraphBuilder.quantize, out=output, name="y"))
        np.testing.assert_array_equal(LITERT.requantize(x, source, output), theirs)


@RUNTIMES
@pytest.mark.parametrize("wide", [False, True], ids=["int8", "int16"])
@pytest.mark.parametrize("per_output", [False, True], ids=["per_tensor", "per_output"])
@pytest.mark.parametrize("inputs", [1, 300, 1100])
def test_dense_layers(runtime, wide, per_output, inputs):
    rng = np.random.default_rng(inputs)
    if wide:
        formats = TensorFormat(np.int16, 2.0**-11), TensorFormat(np.int16, 2.0**-12)
    else:
        formats = TensorFormat(np.int8, 0.03, 5), TensorFormat(np.int8, 0.06, -7)
    layer = random_dense(rng, inputs, 64, *formats, gain=3.0, per_output=per_output)
    limits = np.iinfo(formats[0].dtype)
    x = rng.integers(limits.min, limits.max + 1, (50, inputs)).astype(formats[0].dtype)
    (theirs,) = runtime(dense_graph(layer, rows=50)).run(x)
    arithmetic = LITERT if runtime is LiteRt else TFLM
    ours = arithmetic.dense(x, layer.weights, layer.bias, layer.formats)
    np.testing.assert_array_equal(ours, theirs)


def test_the_runtimes_dense_layers_differ():
    rng = np.random.default_rng(3)
    formats = TensorFormat(np.int16, 2.0**-11), TensorFormat(np.int16, 2.0**-12)
    layer = random_dense(rng, 300, 64, *formats)
    x = rng.integers(-32768, 32768, (50, 300)).astype(np.int16)
    real, integer = (
        arithmetic.dense(x, layer.weights, layer.bias, layer.formats).astype(int)
        for arithmetic in (LITERT, TFLM)
    )
    assert np.abs(real - integer).max() == 1


@pytest.mark.slow
@pytest.mark.parametrize("gate", [0, 2], ids=["sigmoid", "tanh"])
def test_gates_of_the_fused_lstm_at_every_int16(gate):
    # Silent inputs and states: the bias alone is the pre-activation. The other factor of i g is
    # all but 1, and the cell is one step of the product wide: it shows every bit of the gate.
    units, loudest = 512, 32767
    exponential = LstmActivation.EXPONENTIAL
    for pre in ALL_INT16[0].astype(np.int32).reshape(-1, units):
        bias = np.zeros((4, units), np.int32)
        bias[[0, 2]] = loudest
        bias[gate] = pre
        layer = LstmIntegers(
            w_ih=np.zeros((4, units, 1), np.int8),
            w_hh=np.zeros((4, units, units), np.int8),
            bias=bias,
            input=TensorFormat(np.int8, 2.0**-6),
            hidden=TensorFormat(np.int8, 2.0**-7),
            cell=TensorFormat(np.int16, 2.0**-15),
            w_ih_scale=np.full(4, 2.0**-6, np.float32),
            w_hh_scale=np.full(4, 2.0**-6, np.float32),
        )
        graph = LiteRt(fused_lstm(layer))
        graph.run(np.zeros((1, 1, 1), np.int8))
        i = lstm_sigmoid(bias[0].astype(np.int16), exponential).astype(np.int64)
        g = lstm_tanh(bias[2].astype(np.int16), 2.0**-12, exponential)
        ours = rounding_divide_by_power_of_two(i * g, 15)
        np.testing.assert_array_equal(ours, graph.tensor("lstm/cell")[0])
