"""Every input of every unit, and pairs of every kind, against LiteRT's reference kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators import kernels
from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.kernels import Stored
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.artefact.layer_integers import DenseIntegers, LstmIntegers
from rnnt_qat.artefact.runtime_arithmetic import LITERT
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.lstm_graphs import dense_graph, fused_lstm
from rnnt_qat.export.tflite_graph import GraphBuilder
from rnnt_qat.fixedpoint import tabulate, wide
from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.gemmlowp import GemmlowpActivation
from rnnt_qat.fixedpoint.int8_table import Int8Table, int8_table
from rnnt_qat.fixedpoint.litert_table import LitertTable
from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.verify.runtimes import LiteRt, Tflm

INT16 = np.arange(-(2**15), 2**15).astype(np.int16)
INT8 = np.arange(-128, 128).astype(np.int8)
GATE = TensorFormat(np.int16, 2.0**-15)


def unit_graph(
    function: Function, x: np.ndarray, input_format: TensorFormat, output_format: TensorFormat
) -> bytes:
    graph = GraphBuilder("unit")
    tensor = graph.input("x", (1, len(x)), input_format)
    add = graph.logistic if function is Function.SIGMOID else graph.tanh
    return graph.finish([add(tensor, output_format, "y")])


@pytest.mark.parametrize("runtime", [LiteRt, Tflm])
@pytest.mark.parametrize("function", Function)
@pytest.mark.parametrize("frac_bits", [9, 11, 12, 15])
def test_int16_table(function, frac_bits, runtime):
    model = unit_graph(function, INT16, TensorFormat(np.int16, 2.0**-frac_bits), GATE)
    (theirs,) = runtime(model).run(INT16[None])
    ours = tabulate.values(LitertTable(function), QFormat(16, frac_bits))
    np.testing.assert_array_equal(ours, theirs[0])


@pytest.mark.parametrize("frac_bits", range(11))
def test_int8_tanh(frac_bits):
    output = TensorFormat(np.int8, 2.0**-7)
    model = unit_graph(Function.TANH, INT8, TensorFormat(np.int8, 2.0**-frac_bits), output)
    (theirs,) = LiteRt(model).run(INT8[None])
    ours = tabulate.values(Int8Table(Function.TANH), QFormat(8, frac_bits))
    np.testing.assert_array_equal(ours, theirs[0])


@pytest.mark.parametrize("scale", [0.0173, 0.05, 2.0**-4])
@pytest.mark.parametrize(
    ("function", "output_scale", "output_zero_point"),
    [(Function.SIGMOID, 2.0**-8, -128), (Function.TANH, 2.0**-7, 0)],
)
def test_int8_tables_of_any_scale(function, output_scale, output_zero_point, scale):
    input_format = TensorFormat(np.int8, scale, 7)
    output_format = TensorFormat(np.int8, output_scale, output_zero_point)
    (theirs,) = LiteRt(unit_graph(function, INT8, input_format, output_format)).run(INT8[None])
    ours = int8_table(function, scale, 7, output_scale, output_zero_point)
    np.testing.assert_array_equal(ours, theirs[0])


def bias_only_lstm(pre: np.ndarray) -> LstmIntegers:
    """An LSTM whose four gate pre-activations are all ``pre``: its weights are zero."""
    hidden = len(pre)
    return LstmIntegers(
        w_ih=np.zeros((4, hidden, 1), np.int8),
        w_hh=np.zeros((4, hidden, hidden), np.int8),
        bias=np.tile(pre.astype(np.int32), (4, 1)),
        input=TensorFormat(np.int8, 2.0**-6),
        hidden=TensorFormat(np.int8, 2.0**-7),
        cell=TensorFormat(np.int16, 2.0**-11),
        w_ih_scale=np.full(4, 2.0**-6),
        w_hh_scale=np.full(4, 2.0**-6),
    )


def test_gemmlowp_units_over_every_gate_pre_activation():
    # f = i = o = sigmoid(pre), g = tanh(pre): the first step's cell is rounded i * g, and a second
    # step with the same gates leaves round(f * c) + round(i * g).
    sigmoid = tabulate.values(GemmlowpActivation(Function.SIGMOID), QFormat(16, 12)).astype(int)
    tanh = tabulate.values(GemmlowpActivation(Function.TANH), QFormat(16, 12)).astype(int)
    squash = tabulate.values(GemmlowpActivation(Function.TANH), QFormat(16, 11)).astype(int)

    def away(x, shift):
        return np.sign(x) * ((np.abs(x) + (1 << (shift - 1))) >> shift)

    width = 512
    for start in range(0, 2**16, width):
        part = slice(start, start + width)
        runtime = LiteRt(fused_lstm(bias_only_lstm(INT16[part])))
        cell = np.zeros(width, int)
        for _ in range(2):
            (hidden,) = runtime.run(np.zeros((1, 1, 1), np.int8))
            cell = away(sigmoid[part] * cell, 15) + away(sigmoid[part] * tanh[part], 19)
            np.testing.assert_array_equal(cell, runtime.tensor("lstm/cell")[0])
            product = sigmoid[part] * squash[cell + 2**15]
            half = (product + 1) >> 1  # the doubling high multiply, ties up
            np.testing.assert_array_equal(np.clip(away(half, 22), -128, 127), hidden[0, 0])


@pytest.mark.parametrize(
    "exponents",
    [
        (-5, -5, -5), (-5, -6, -4), (-4, -7, -5), (-6, -6, -4), (-3, -6, -6),
        # Far apart: the finer addend is rounded, and the sum twice.
        (-6, -30, -6), (-25, -6, -5), (-6, -26, -10), (-6, -25, -3), (-6, -7, -23),
    ],
)  # fmt: skip
def test_every_pair_of_int8_added(exponents):
    a, b = (grid.ravel() for grid in np.meshgrid(INT8, INT8))
    scales = [2.0**e for e in exponents]
    graph = GraphBuilder("add")
    inputs = [
        graph.input(name, (1, a.size), TensorFormat(np.int8, scale))
        for name, scale in zip("ab", scales[:2], strict=True)
    ]
    total = graph.add(*inputs, TensorFormat(np.int8, scales[2]), "sum")
    (theirs,) = LiteRt(graph.finish([total])).run(a[None], b[None])
    ours = jax.jit(
        lambda a, b, s: kernels.add(
            ETHOS_U_8X8_16, Stored(a, s[0]), Stored(b, s[1]), Role.JOINT_PRE, s[2]
        )
    )(jnp.asarray(a, jnp.int32), jnp.asarray(b, jnp.int32), jnp.asarray(scales, jnp.float32))
    np.testing.assert_array_equal(ours, theirs[0])


def test_the_smallest_int8_beside_a_far_finer_one():
    low = jnp.int32(-128)
    args = Stored(low, 2.0**-6), Stored(low, 2.0**-30), Role.JOINT_PRE
    assert kernels.add(ETHOS_U_8X8_16, *args, 2.0**-6) == -128


def test_int16_products():
    rng = np.random.default_rng(0)
    corners = np.array([-(2**15), -(2**15) + 1, -1, 0, 1, 2**14, 2**15 - 1])
    a = np.concatenate([np.repeat(corners, 7), rng.integers(-(2**15), 2**15, 20_000)])
    b = np.concatenate([np.tile(corners, 7), rng.integers(-(2**15), 2**15, 20_000)])
    a, b = a.astype(np.int16), b.astype(np.int16)
    graph = GraphBuilder("mul")
    x = graph.input("x", (1, a.size), GATE)
    y = graph.input("y", (1, a.size), TensorFormat(np.int16, 2.0**-11))
    product = graph.mul(x, y, TensorFormat(np.int16, 2.0**-11), "product")
    (theirs,) = LiteRt(graph.finish([product])).run(a[None], b[None])
    ours = kernels.mul(
        ETHOS_U_16X8,
        Stored(jnp.asarray(a, jnp.int32), 2.0**-15),
        Stored(jnp.asarray(b, jnp.int32), 2.0**-11),
        Role.CELL,
        2.0**-11,
    )
    np.testing.assert_array_equal(ours, theirs[0])


@pytest.mark.parametrize("shift", [-43, -36, -33, -32, -31, -20, -2, 5])
def test_dense_layer_of_any_ratio(shift):
    """16x8 sums have 40 bits: they are still there where a ratio is below 2^-32."""
    rng = np.random.default_rng(shift + 50)
    bias = rng.integers(-(2**38), 2**38, 64) >> rng.integers(0, 12, 64)
    bias >>= max(shift + 10, 0)
    layer = DenseIntegers(
        weights=rng.integers(-127, 128, (64, 8)).astype(np.int8) if shift < 0 else
        rng.integers(-1, 2, (64, 8)).astype(np.int8),
        bias=bias,
        input=TensorFormat(np.int16, 2.0**-11),
        output=TensorFormat(np.int16, 2.0**-12),
        weight_scale=np.float32(2.0 ** (shift - 1) * 1.25),
    )  # fmt: skip
    layer.check_limits("dense", LITERT.wide_accumulator_bits)
    x = rng.integers(-(2**15), 2**15, (64, 8)).astype(np.int16)
    (theirs,) = LiteRt(dense_graph(layer, rows=64)).run(x)
    held = wide.Wide(
        jnp.asarray((bias >> 32).astype(np.int32)),
        jnp.asarray((bias & 0xFFFFFFFF).astype(np.uint32)),
    )
    accumulated = kernels.accumulate(
        ETHOS_U_16X8,
        Stored(jnp.asarray(x), layer.input.scale),
        Stored(jnp.asarray(layer.weights.T), jnp.float32(layer.weight_scale)),
        held,
    )
    ours = kernels.store(ETHOS_U_16X8, accumulated, Role.PROJECTION, 2.0**-12)
    np.testing.assert_array_equal(ours, theirs)
    assert np.any(theirs) == (shift > -40)


@pytest.mark.parametrize("is_wide", [False, True])
def test_dense_layer(is_wide):
    rng = np.random.default_rng(1)
    spec = ETHOS_U_16X8 if is_wide else ETHOS_U_8X8_16
    dtype, bias_dtype, limit = (np.int16, np.int64, 2**15) if is_wide else (np.int8, np.int32, 128)
    output_scale = 2.0**-12 if is_wide else 2.0**-4
    weight_scale = float(np.float32(0.0123))
    if is_wide:
        weight_scale = float(np.ceil(weight_scale * 2**21) / 2**21)  # 15 significant bits
    layer = DenseIntegers(
        weights=rng.integers(-127, 128, (96, 200)).astype(np.int8),
        bias=rng.integers(-(2**17), 2**17, 96).astype(bias_dtype),
        input=TensorFormat(dtype, 2.0**-14 if is_wide else 2.0**-6),
        output=TensorFormat(dtype, output_scale),
        weight_scale=np.float32(weight_scale),
    )
    x = rng.integers(-limit, limit, (64, 200)).astype(dtype)
    (theirs,) = LiteRt(dense_graph(layer, rows=64)).run(x)
    bias = jnp.asarray(layer.bias.astype(np.int32))
    accumulated = kernels.accumulate(
        spec,
        Stored(jnp.asarray(x), layer.input.scale),
        Stored(jnp.asarray(layer.weights.T), weight_scale),
        wide.widen(bias) if is_wide else bias,
    )
    ours = kernels.store(spec, accumulated, Role.PROJECTION, output_scale)
    np.testing.assert_array_equal(ours, theirs)
    assert 0.2 < np.mean(np.abs(theirs) < limit - 1) <= 1.0
