"""Random integer graphs with extreme but legal scales, in every runtime and in this project's code.

Operators, single layers and whole recognizers of a few units are drawn from a seed: scales from
2^-45 to 2^12, biases up to the accumulator's bound, weights that are all zero or all full, inputs
at their ends. Each graph runs in LiteRT's reference kernels and in TFLM and is compared, integer by
integer, with the NumPy player under that runtime's arithmetic and with the JAX operators that
training and serving share. What the artefact refuses (``artefact.limits``) is drawn again.

python -m benchmarks.drills.integers --cases=2400 --seed=0
"""

import argparse
import functools
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.drills.integer_recognizers import recognizer
from rnnt_qat.accelerators import kernels
from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.ethos_u_8x8_16_tflm import ETHOS_U_8X8_16_TFLM
from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.kernels import Stored
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AcceleratorSpec, Operator
from rnnt_qat.artefact import limits
from rnnt_qat.artefact.layer_integers import DenseIntegers, LstmIntegers
from rnnt_qat.artefact.layer_player import LstmState, initial_lstm_state, play_lstm
from rnnt_qat.artefact.runtime_arithmetic import LITERT, TFLM, RuntimeArithmetic
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.export.lstm_graphs import dense_graph, fused_lstm, lstm_step_16x8
from rnnt_qat.export.tflite_graph import GraphBuilder
from rnnt_qat.fixedpoint import wide
from rnnt_qat.verify.runtimes import LiteRt, Runtime, Tflm

Rng = np.random.Generator
RUNTIMES: tuple[tuple[type[LiteRt] | type[Tflm], RuntimeArithmetic], ...] = (
    (LiteRt, LITERT),
    (Tflm, TFLM),
)
_NUMBERS = 2048
"""Elements of an elementwise operator."""
_ROWS, _DEPTH, _WIDTH = 8, 40, 12
"""Shape of a product in JAX; smaller ones are filled with zeros, so that one program serves all."""


class DifferentIntegersError(AssertionError):
    """Two of a graph's computations differ; the message names them and the first integers."""


@dataclass(frozen=True)
class Count:
    """What became of the graphs of one kind.

    Attributes:
      kind: operator, layer or chip.
      cases: graphs that were compared.
      refused: draws that were refused by name before, and drawn again.
      failures: graphs with a difference, or that raised anything.
      first_failure: its case and message; empty if there is none.
    """

    kind: str
    cases: int
    refused: int
    failures: int
    first_failure: str


def run(cases: int, seed: int, kinds: Sequence[str] = ()) -> list[Count]:
    """Compares that many graphs.

    Args:
      cases: graphs in all, shared out over the kinds.
      seed: case n of a kind is drawn from (seed, kind, n) alone.
      kinds: of ``KINDS``; all if none are named.
    """
    names = list(kinds or KINDS)
    shares = [cases // len(names) + (n < cases % len(names)) for n in range(len(names))]
    return [_run_kind(name, share, seed) for name, share in zip(names, shares, strict=True)]


def _run_kind(kind: str, cases: int, seed: int) -> Count:
    tally: Counter[str] = Counter()
    failures, first = 0, ""
    for case in range(cases):
        rng = np.random.default_rng([seed, list(KINDS).index(kind), case])
        try:
            _draw_until_legal(KINDS[kind], rng, tally)
        except Exception as error:  # whatever a graph raises is a finding
            failures += 1
            first = first or f"case {case}: {type(error).__name__}: {error}"
    return Count(kind, cases, tally["refused"], failures, first)


def _draw_until_legal(check: Callable[[Rng], None], rng: Rng, tally: Counter[str]) -> None:
    for _ in range(1000):
        try:
            return check(rng)
        except _RefusedError:
            tally["refused"] += 1
    raise RuntimeError("1000 draws in a row were refused")


class _RefusedError(Exception):
    """A draw that the artefact refuses by name."""


def _require_legal(check: Callable[..., None], *args: object) -> None:
    try:
        check(*args)
    except ValueError as error:
        raise _RefusedError(str(error)) from error


def _same(what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    different = np.argwhere(ours.reshape(theirs.shape) != theirs)
    if len(different):
        where = tuple(different[0])
        raise DifferentIntegersError(
            f"{what}: {ours.reshape(theirs.shape)[where]} instead of {theirs[where]} at "
            f"{[int(i) for i in where]}; {len(different)} of {theirs.size} differ"
        )


def _power(rng: Rng, low: int, high: int) -> float:
    return 2.0 ** int(rng.integers(low, high + 1))


def _scale(rng: Rng, low: int, high: int, bits: int = 24) -> float:
    """A scale with so many significant bits."""
    fraction = rng.integers(2 ** (bits - 1), 2**bits) if rng.random() < 0.8 else 2 ** (bits - 1)
    return float(np.float32(np.ldexp(float(fraction), int(rng.integers(low, high + 1)) - bits + 1)))


def _integers(rng: Rng, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Of every size, with the ends of the range among them."""
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max + 1, shape)
    if rng.random() < 0.5:
        values >>= rng.integers(0, info.bits, shape)
    ends = rng.random(shape) < 0.1
    return np.where(ends, rng.choice([info.min, info.max, 0, 1, -1], shape), values).astype(dtype)


def _weights(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    reach = rng.choice([0, 1, 7, 127], p=[0.05, 0.2, 0.25, 0.5])
    return rng.integers(-reach, reach + 1, shape).astype(np.int8)


def _bias(rng: Rng, shape: tuple[int, ...], bits: int) -> np.ndarray:
    largest = 2 ** (bits - 1) - 1
    values = rng.integers(-largest, largest + 1, shape) >> rng.integers(0, bits, shape)
    return values.astype(np.int32 if bits == 32 else np.int64)


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


def dense(rng: Rng, dtype: type) -> None:
    """FULLY_CONNECTED."""
    is_wide, zero_points = dtype is np.int16, (0, 0)
    by_jax = rng.random() < 0.7
    input_scale, output_scale = _power(rng, -20, 8), _power(rng, -25, 12)
    if not by_jax and not is_wide:
        zero_points = tuple(int(z) for z in rng.integers(-128, 128, 2))
        input_scale, output_scale = _scale(rng, -20, 8), _scale(rng, -25, 12)
    shape = int(rng.integers(1, _WIDTH + 1)), int(rng.integers(1, _DEPTH + 1))
    per_output = not by_jax and bool(rng.random() < 0.5)
    # With 15 bits LiteRT's product of doubles and the 16-bit multiplier are one exact product.
    scales = [_scale(rng, -36, 4, 15 if is_wide else 24) for _ in range(shape[0])]
    layer = DenseIntegers(
        weights=_weights(rng, shape),
        bias=_bias(rng, shape[:1], 40 if is_wide else 32),
        input=TensorFormat(dtype, input_scale, zero_points[0]),
        output=TensorFormat(dtype, output_scale, zero_points[1]),
        weight_scale=np.float32(scales if per_output else scales[0]),
    )
    _require_legal(layer.check_limits, "dense", LITERT.wide_accumulator_bits)
    x = _integers(rng, (_ROWS, shape[1]), dtype)
    graph = dense_graph(layer, rows=_ROWS)
    for load, arithmetic in RUNTIMES:
        (theirs,) = load(graph).run(x)
        ours = arithmetic.dense(x, layer.weights, layer.bias, layer.formats)
        _same(f"player and {load.__name__}", ours, theirs)
        if by_jax and not (is_wide and load is Tflm):
            chips = {LiteRt: ETHOS_U_8X8_16, Tflm: ETHOS_U_8X8_16_TFLM}
            spec = ETHOS_U_16X8 if is_wide else chips[load]
            _same(f"JAX and {load.__name__}", _dense_in_jax(spec, layer, x), theirs)


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
    _require_legal(limits.check_add, "sum", formats)
    a, b = (_integers(rng, (1, _NUMBERS), dtype) for _ in range(2))
    graph = _one_operator(lambda g, x, y: g.add(x, y, formats[2], "sum"), formats[:2], (a, b))
    for load, arithmetic in RUNTIMES:
        (theirs,) = load(graph).run(a, b)
        _same(f"player and {load.__name__}", arithmetic.add(a, b, tuple(formats)), theirs)
        if by_jax:
            spec = ETHOS_U_16X8 if dtype is np.int16 else ETHOS_U_8X8_16
            program = _jitted("add", spec, Role.JOINT_PRE)
            ours = program(a.astype(np.int32), b.astype(np.int32), np.float32(scales))
            _same(f"JAX and {load.__name__}", ours, theirs)


def mul(rng: Rng, dtype: type) -> None:
    """MUL."""
    by_jax = bool(rng.random() < 0.7)
    draw = _power if by_jax else _scale
    formats = [TensorFormat(dtype, draw(rng, low, 4)) for low in (-20, -20, -24)]
    reach = float(2 ** (np.iinfo(dtype).bits - 1)) ** 2
    a_scale, b_scale, scale = (f.scale for f in formats)
    _require_legal(limits.check_result, "product", reach * a_scale * b_scale / scale)
    a, b = (_integers(rng, (1, _NUMBERS), dtype) for _ in range(2))
    graph = _one_operator(lambda g, x, y: g.mul(x, y, formats[2], "z"), formats[:2], (a, b))
    for load, arithmetic in RUNTIMES:
        (theirs,) = load(graph).run(a, b)
        _same(f"player and {load.__name__}", arithmetic.mul(a, b, tuple(formats)), theirs)
        if by_jax:
            spec = ETHOS_U_16X8 if dtype is np.int16 else ETHOS_U_8X8_16
            program = _jitted("mul", spec, Role.HIDDEN)
            scales = np.float32([a_scale, b_scale, scale])
            ours = program(a.astype(np.int32), b.astype(np.int32), scales)
            _same(f"JAX and {load.__name__}", ours, theirs)


def requantize(rng: Rng, dtype: type) -> None:
    """QUANTIZE from one scale to another."""
    by_jax = bool(rng.random() < 0.7)
    draw = _power if by_jax else _scale
    source, output = (TensorFormat(dtype, draw(rng, -25, 8)) for _ in range(2))
    _require_legal(limits.check_requantize, "tensor", source, output)
    x = _integers(rng, (1, _NUMBERS), dtype)
    graph = _one_operator(lambda g, x: g.quantize(x, output, "y"), [source], [x])
    for load, arithmetic in RUNTIMES:
        (theirs,) = load(graph).run(x)
        _same(f"player and {load.__name__}", arithmetic.requantize(x, source, output), theirs)
        if by_jax:
            spec = ETHOS_U_16X8 if dtype is np.int16 else ETHOS_U_8X8_16
            program = _jitted("move", spec, Role.JOINT_PRE)
            ours = program(x.astype(np.int32), np.float32([source.scale, output.scale]))
            _same(f"JAX and {load.__name__}", ours, theirs)


def tanh_int8(rng: Rng) -> None:
    """TANH of all int8, whose table LiteRT and TFLM fill from any scale."""
    by_jax = bool(rng.random() < 0.5)
    source = TensorFormat(np.int8, _power(rng, -30, 6) if by_jax else _scale(rng, -30, 6))
    _require_legal(limits.check_tanh, "sum", source)
    output = TensorFormat(np.int8, 2.0**-7)
    x = np.arange(-128, 128).astype(np.int8)[None]
    graph = _one_operator(lambda g, x: g.tanh(x, output, "y"), [source], [x])
    for load, arithmetic in RUNTIMES:
        (theirs,) = load(graph).run(x)
        ours = arithmetic.tanh(x, source, output)
        _same(f"player and {load.__name__}", ours, theirs)
        if by_jax and load is LiteRt:
            unit = kernels.unit(ETHOS_U_8X8_16, Role.JOINT_HIDDEN, Operator.TANH)
            frac_bits = jnp.int32(-round(np.log2(source.scale)))
            _same(f"JAX and {load.__name__}", unit(jnp.asarray(x, jnp.int32), frac_bits), theirs)


def lstm_8x8_16(rng: Rng) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM over three frames."""
    inputs, hidden = (int(n) for n in rng.integers(1, 6, 2))
    zero_points = [int(z) for z in rng.integers(-128, 128, 2)]
    input_format = TensorFormat(np.int8, _scale(rng, -12, 4), zero_points[0])
    state = TensorFormat(np.int8, _scale(rng, -10, -5), zero_points[1])
    layer = LstmIntegers(
        w_ih=_weights(rng, (4, hidden, inputs)),
        w_hh=_weights(rng, (4, hidden, hidden)),
        bias=_bias(rng, (4, hidden), 32),
        input=input_format,
        hidden=state,
        cell=TensorFormat(np.int16, _power(rng, -15, -9)),
        w_ih_scale=np.float32([_scale(rng, -30, 0) for _ in range(4)]),
        w_hh_scale=np.float32([_scale(rng, -30, 0) for _ in range(4)]),
    )
    _require_legal(layer.check_limits, "lstm", LITERT.wide_accumulator_bits)
    xs = _integers(rng, (3, inputs), np.int8)
    graph = fused_lstm(layer, steps=1)
    for load, arithmetic in RUNTIMES:
        runtime: Runtime = load(graph)
        runtime.reset()
        ours, final = play_lstm(layer, xs, initial_lstm_state(layer), arithmetic)
        theirs = np.concatenate([runtime.run(x[None, None])[0][0] for x in xs])
        _same(f"hidden states of player and {load.__name__}", ours, theirs)
        if isinstance(runtime, LiteRt):
            _same("cells of player and LiteRt", final.cell, runtime.tensor("lstm/cell")[0])


def lstm_16x8(rng: Rng) -> None:
    """A step of an LSTM operator by operator, from any state."""
    inputs, hidden = (int(n) for n in rng.integers(1, 6, 2))
    shape = (4, hidden) if rng.random() < 0.5 else (4,)
    scales = [
        np.reshape([_scale(rng, -36, 0) for _ in range(np.prod(shape))], shape) for _ in range(2)
    ]
    layer = LstmIntegers(
        w_ih=_weights(rng, (4, hidden, inputs)),
        w_hh=_weights(rng, (4, hidden, hidden)),
        bias=_bias(rng, (4, hidden), 40),
        input=TensorFormat(np.int16, _power(rng, -20, 4)),
        hidden=TensorFormat(np.int16, _power(rng, -16, -13)),
        cell=TensorFormat(np.int16, _power(rng, -12, -11)),
        w_ih_scale=scales[0].astype(np.float32),
        w_hh_scale=scales[1].astype(np.float32),
    )
    _require_legal(layer.check_limits, "lstm", LITERT.wide_accumulator_bits)
    x, h, c = (_integers(rng, (1, n), np.int16) for n in (inputs, hidden, hidden))
    graph = lstm_step_16x8(layer)
    for load, arithmetic in RUNTIMES:
        theirs = load(graph).run(x, h, c)
        _, ours = play_lstm(layer, x, LstmState(h[0], c[0]), arithmetic)
        for site in ("hidden", "cell"):
            at = ("hidden", "cell").index(site)
            _same(f"{site} of player and {load.__name__}", getattr(ours, site), theirs[at][0])


def recognizer_on(rng: Rng, chip: str) -> None:
    """A whole recognizer: training, serving and player in agreement with both runtimes."""
    try:
        found = recognizer(rng, chip)
    except ValueError as error:
        raise _RefusedError(str(error)) from error
    for agreement in found:
        if not agreement.exact:
            raise DifferentIntegersError(f"player and {agreement.decoder}: {agreement}")


KINDS: dict[str, Callable[[Rng], None]] = {
    "FULLY_CONNECTED int8": lambda rng: dense(rng, np.int8),
    "FULLY_CONNECTED 16x8": lambda rng: dense(rng, np.int16),
    "ADD int8": lambda rng: add(rng, np.int8),
    "ADD int16": lambda rng: add(rng, np.int16),
    "MUL int8": lambda rng: mul(rng, np.int8),
    "MUL int16": lambda rng: mul(rng, np.int16),
    "QUANTIZE int8": lambda rng: requantize(rng, np.int8),
    "QUANTIZE int16": lambda rng: requantize(rng, np.int16),
    "TANH int8": tanh_int8,
    "LSTM 8x8_16": lstm_8x8_16,
    "LSTM 16x8": lstm_16x8,
    "recognizer ethos_u_8x8_16": lambda rng: recognizer_on(rng, "ethos_u_8x8_16"),
    "recognizer ethos_u_16x8": lambda rng: recognizer_on(rng, "ethos_u_16x8"),
}


def main() -> int:
    """Prints a line a kind; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", default=[], choices=list(KINDS))
    args = parser.parse_args()
    started, failures, cases = time.monotonic(), 0, 0
    print("| graphs | compared | refused draws | failures |\n|---|---:|---:|---:|")
    for kind in args.kind or KINDS:
        share = args.cases // len(args.kind or KINDS)
        count = replace(run(share, args.seed, [kind])[0])
        print(f"| {count.kind} | {count.cases} | {count.refused} | {count.failures} |", flush=True)
        if count.first_failure:
            print(f"  {count.first_failure}", file=sys.stderr)
        failures, cases = failures + count.failures, cases + count.cases
    print(f"| all, seed {args.seed} | {cases} | | {failures} |")
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
