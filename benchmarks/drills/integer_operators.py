"""Graphs of one operator: each runtime, the player, and the JAX operators of the chips."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.drills.integer_comparison import RUNTIMES, require_same
from benchmarks.drills.integer_draws import (
    Rng,
    bias_of,
    integers_of,
    power,
    require_legal,
    scale_of_bits,
    weights_of,
)
from rnnt_qat.accelerators import kernels
from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_8x8_16_tflm import ETHOS_U_8X8_16_TFLM
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.kernels import Stored
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AcceleratorSpec, Operator
from rnnt_qat.artefact import limits
from rnnt_qat.artefact.layer_integers import DenseIntegers
from rnnt_qat.artefact.runtime_arithmetic import LITERT
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.lstm_graphs import dense_graph
from rnnt_qat.export.tflite_graph import GraphBuilder
from rnnt_qat.fixedpoint import wide
from rnnt_qat.verify.runtimes import LiteRt, Tflm

_NUMBERS = 2048
"""Elements of an elementwise operator."""
_ROWS, _DEPTH, _WIDTH = 8, 40, 12
"""Shape of a product in JAX; smaller ones are filled with zeros, so that one program serves all."""


def dense(rng: Rng, dtype: type) -> None:
    """FULLY_CONNECTED."""
    is_wide, zero_points = dtype is np.int16, (0, 0)
    by_jax = rng.random() < 0.7
    input_scale, output_scale = power(rng, -20, 8), power(rng, -25, 12)
    if not by_jax and not is_wide:
        zero_points = tuple(int(z) for z in rng.integers(-128, 128, 2))
        input_scale, output_scale = scale_of_bits(rng, -20, 8), scale_of_bits(rng, -25, 12)
    shape = int(rng.integers(1, _WIDTH + 1)), int(rng.integers(1, _DEPTH + 1))
    per_output = not by_jax and bool(rng.random() < 0.5)
    # With 15 bits LiteRT's product of doubles and the 16-bit multiplier are one exact product.
    scales = [scale_of_bits(rng, -36, 4, 15 if is_wide else 24) for _ in range(shape[0])]
    layer = DenseIntegers(
        weights=weights_of(rng, shape),
        bias=bias_of(rng, shape[:1], 40 if is_wide else 32),
        input=TensorFormat(dtype, input_scale, zero_points[0]),
        output=TensorFormat(dtype, output_scale, zero_points[1]),
        weight_scale=np.float32(scales if per_output else scales[0]),
    )
    require_legal(layer.check_limits, "dense", LITERT.wide_accumulator_bits)
    x = integers_of(rng, (_ROWS, shape[1]), dtype)
    graph = dense_graph(layer, rows=_ROWS)
    for load, arithmetic in RUNTIMES:
        (theirs,) = load(graph).run(x)
        ours = arithmetic.dense(x, layer.weights, layer.bias, layer.formats)
        require_same(f"player and {load.__name__}", ours, theirs)
        if by_jax and not (is_wide and load is Tflm):
            chips = {LiteRt: ETHOS_U_8X8_16, Tflm: ETHOS_U_8X8_16_TFLM}
            spec = ETHOS_U_16X8 if is_wide else chips[load]
            require_same(f"JAX and {load.__name__}", _dense_in_jax(spec, layer, x), theirs)


def add(rng: Rng, dtype: type) -> None:
    """ADD of addends up to 2^30 apart."""
    first = int(rng.integers(-40, 8))
    second = first + int(rng.integers(-30, 31) if rng.random() < 0.6 else rng.integers(-3, 4))
    coarsest = max(first, second)
    scales = [2.0**first, 2.0**second, 2.0 ** (coarsest + int(rng.integers(-20, 12)))]
    by_jax = bool(rng.random() < 0.7)
    if not by_jax:
        scales = [float(np.float32(s * rng.uniform(1, 2))) for s in scales]
    zeros = (0, 0, 0) if by_jax or dtype is np.int16 else rng.integers(-128, 128, 3).tolist()
    formats = [TensorFormat(dtype, s, z) for s, z in zip(scales, zeros, strict=True)]
    require_legal(limits.check_add, "sum", formats)
    a, b = (integers_of(rng, (1, _NUMBERS), dtype) for _ in range(2))
    graph = _one_operator(lambda g, x, y: g.add(x, y, formats[2], "sum"), formats[:2], (a, b))
    for load, arithmetic in RUNTIMES:
        (theirs,) = load(graph).run(a, b)
        require_same(f"player and {load.__name__}", arithmetic.add(a, b, tuple(formats)), theirs)
        if by_jax:
            spec = ETHOS_U_16X8 if dtype is np.int16 else ETHOS_U_8X8_16
            program = _jitted("add", spec, Role.JOINT_PRE)
            ours = program(a.astype(np.int32), b.astype(np.int32), np.float32(scales))
            require_same(f"JAX and {load.__name__}", ours, theirs)


def mul(rng: Rng, dtype: type) -> None:
    """MUL."""
    by_jax = bool(rng.random() < 0.7)
    draw = power if by_jax else scale_of_bits
    formats = [TensorFormat(dtype, draw(rng, low, 4)) for low in (-20, -20, -24)]
    reach = float(2 ** (np.iinfo(dtype).bits - 1)) ** 2
    a_scale, b_scale, scale = (f.scale for f in formats)
    require_legal(limits.check_result, "product", reach * a_scale * b_scale / scale)
    a, b = (integers_of(rng, (1, _NUMBERS), dtype) for _ in range(2))
    graph = _one_operator(lambda g, x, y: g.mul(x, y, formats[2], "z"), formats[:2], (a, b))
    for load, arithmetic in RUNTIMES:
        (theirs,) = load(graph).run(a, b)
        require_same(f"player and {load.__name__}", arithmetic.mul(a, b, tuple(formats)), theirs)
        if by_jax:
            spec = ETHOS_U_16X8 if dtype is np.int16 else ETHOS_U_8X8_16
            program = _jitted("mul", spec, Role.HIDDEN)
            scales = np.float32([a_scale, b_scale, scale])
            ours = program(a.astype(np.int32), b.astype(np.int32), scales)
            require_same(f"JAX and {load.__name__}", ours, theirs)


def requantize(rng: Rng, dtype: type) -> None:
    """QUANTIZE from one scale to another."""
    by_jax = bool(rng.random() < 0.7)
    draw = power if by_jax else scale_of_bits
    source, output = (TensorFormat(dtype, draw(rng, -25, 8)) for _ in range(2))
    require_legal(limits.check_requantize, "tensor", source, output)
    x = integers_of(rng, (1, _NUMBERS), dtype)
    graph = _one_operator(lambda g, x: g.quantize(x, output, "y"), [source], [x])
    for load, arithmetic in RUNTIMES:
        (theirs,) = load(graph).run(x)
        require_same(
            f"player and {load.__name__}", arithmetic.requantize(x, source, output), theirs
        )
        if by_jax:
            spec = ETHOS_U_16X8 if dtype is np.int16 else ETHOS_U_8X8_16
            program = _jitted("move", spec, Role.JOINT_PRE)
            ours = program(x.astype(np.int32), np.float32([source.scale, output.scale]))
            require_same(f"JAX and {load.__name__}", ours, theirs)


def tanh_int8(rng: Rng) -> None:
    """TANH of all int8, whose table LiteRT and TFLM fill from any scale."""
    by_jax = bool(rng.random() < 0.5)
    source = TensorFormat(np.int8, power(rng, -30, 6) if by_jax else scale_of_bits(rng, -30, 6))
    require_legal(limits.check_tanh, "sum", source)
    output = TensorFormat(np.int8, 2.0**-7)
    x = np.arange(-128, 128).astype(np.int8)[None]
    graph = _one_operator(lambda g, x: g.tanh(x, output, "y"), [source], [x])
    for load, arithmetic in RUNTIMES:
        (theirs,) = load(graph).run(x)
        ours = arithmetic.tanh(x, source, output)
        require_same(f"player and {load.__name__}", ours, theirs)
        if by_jax and load is LiteRt:
            unit = kernels.unit(ETHOS_U_8X8_16, Role.JOINT_HIDDEN, Operator.TANH)
            frac_bits = jnp.int32(-round(np.log2(source.scale)))
            require_same(
                f"JAX and {load.__name__}", unit(jnp.asarray(x, jnp.int32), frac_bits), theirs
            )


def _one_operator(add: Callable, formats: Sequence[TensorFormat], arrays: Sequence) -> bytes:
    graph = GraphBuilder("one")
    inputs = [
        graph.input(f"x{n}", array.shape, tensor_format)
        for n, (array, tensor_format) in enumerate(zip(arrays, formats, strict=True))
    ]
    return graph.finish([add(graph, *inputs)])


@functools.cache
def _jitted(name: str, spec: AcceleratorSpec, role: Role) -> Callable:
    """An operator of the chip as a program whose scales are arguments."""
    operator: Callable = getattr(kernels, name)
    if name == "move":
        return jax.jit(lambda x, s: kernels.into_range(
            spec, kernels.move(spec, Stored(x, s[0]), s[1]), role
        ))  # fmt: skip
    return jax.jit(lambda a, b, s: operator(spec, Stored(a, s[0]), Stored(b, s[1]), role, s[2]))


@functools.cache
def _product(spec: AcceleratorSpec) -> Callable:
    def product(x, w, bias, s):
        total = kernels.accumulate(spec, Stored(x, s[0]), Stored(w, s[1]), bias)
        return kernels.store(spec, total, Role.PROJECTION, s[2])

    return jax.jit(product)


def _dense_in_jax(spec: AcceleratorSpec, layer: DenseIntegers, x: np.ndarray) -> np.ndarray:
    outputs, depth = layer.weights.shape
    weights = np.zeros((_DEPTH, _WIDTH), np.int8)
    weights[:depth, :outputs] = layer.weights.T
    inputs = np.zeros((_ROWS, _DEPTH), x.dtype)
    inputs[:, :depth] = x
    bias = np.zeros(_WIDTH, np.int64)
    bias[:outputs] = layer.bias
    held = bias.astype(np.int32)
    if spec.accumulator.bits > 32:
        words = (bias >> 32).astype(np.int32), (bias & 0xFFFFFFFF).astype(np.uint32)
        held = wide.Wide(*map(jnp.asarray, words))
    scales = np.float32([layer.input.scale, layer.weight_scale, layer.output.scale])
    return np.asarray(_product(spec)(inputs, weights, held, scales))[:, :outputs]
