"""Engine latency of an RNN-T on Ethos-U: weight grids, chunk sizes, all on the NPU or not.

    python -m benchmarks.engine_latency --output=engine_latency.json

Weights are drawn from a Gaussian, put on each grid and compiled by Vela, which compresses them;
latency depends on their statistics and not on what they mean. Calls are counted over a fixed set
of utterances at the rates in ``Workload``; ``experiments/export.py`` does the same for a trained
model with the counts of its own decodes.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import flags

from rnnt_qat.artefact.integers import (
    EncoderIntegers,
    JointIntegers,
    PredictionIntegers,
    RnntIntegers,
)
from rnnt_qat.artefact.layer_integers import DenseIntegers, LstmIntegers
from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.infra.program import run
from rnnt_qat.latency.chip_compilation import CompiledRecognizer, compile_recognizer
from rnnt_qat.latency.cpu_costs import (
    CORTEX_M55,
    FALLBACK_OPERATORS,
    call_time,
    sensitivity,
)
from rnnt_qat.latency.engine_latency import DecodeCounts
from rnnt_qat.latency.targets import TARGETS

_OUTPUT = flags.DEFINE_string("output", "engine_latency.json", "file for the figures")
_TARGETS = flags.DEFINE_list("targets", ["u55-128", "u85-512"], "Ethos-U targets")
_GRIDS = flags.DEFINE_list("grids", ["w8", "w4", "w2", "zeros50", "zeros80"], "weight grids")
_CHUNKS = flags.DEFINE_list("chunks", ["1", "4"], "encoder frames a chunk")
_CHIPS = flags.DEFINE_list("chips", ["16x8", "8x8_16"], "integer shapes")
_HIDDEN = flags.DEFINE_integer("hidden", 512, "width of the encoder's LSTMs")


@dataclass(frozen=True)
class Sizes:
    """Sizes of the recognizer: 80 mel bins, three frames stacked, half the rate after one LSTM."""

    hidden: int = 512
    features: int = 240
    layers: int = 3
    layers_before_reduction: int = 1
    time_reduction: int = 2
    embedding: int = 128
    prediction: int = 256
    joint: int = 256
    vocabulary: int = 128


@dataclass(frozen=True)
class Workload:
    """Utterances to count calls over.

    Attributes:
      utterances: how many.
      mean_seconds: their mean length; the lengths are spread from a quarter of it to four times.
      encoder_frames_per_second: after time reduction: 30 ms frames in pairs.
      tokens_per_second: small subword units in read English.
    """

    utterances: int = 200
    mean_seconds: float = 7.0
    encoder_frames_per_second: float = 1000 / 60
    tokens_per_second: float = 4.0

    def counts(self, frames_per_chunk: int) -> DecodeCounts:
        """Calls of a greedy decode of each utterance."""
        rng = np.random.default_rng(0)
        spread = np.exp(rng.normal(0.0, 0.6, self.utterances)).clip(0.25, 4.0)
        seconds = self.mean_seconds * spread
        frames = np.ceil(seconds * self.encoder_frames_per_second).astype(np.int64)
        tokens = rng.poisson(seconds * self.tokens_per_second)
        return DecodeCounts.of_hypotheses(seconds, frames, tokens, frames_per_chunk)


def gaussian(rng: np.random.Generator, shape: tuple[int, ...], largest: int) -> np.ndarray:
    """Gaussian weights whose 3.5 deviations are the largest integer of the grid."""
    return np.rint(rng.normal(0.0, largest / 3.5, shape)).clip(-largest, largest)


def with_zeros(
    share: float, largest: int = 127
) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]:
    """Weights up to ``largest`` of which the smallest ``share`` is zero."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        weights = rng.normal(0.0, largest / 3.5, shape)
        kept = np.abs(weights) > np.quantile(np.abs(weights), share)
        return np.where(kept, np.rint(weights).clip(-largest, largest), 0)

    return draw


def with_zero_columns(share: float) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]:
    """8-bit weights of which a ``share`` of the outputs reads nothing; outputs are last but one."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        weights = gaussian(rng, shape, 127)
        return weights * (rng.permuted(np.linspace(0, 1, shape[-2])) > share)[:, None]

    return draw


GRIDS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "w8": lambda rng, shape: gaussian(rng, shape, 127),
    "w4": lambda rng, shape: gaussian(rng, shape, 7),
    "w2": lambda rng, shape: gaussian(rng, shape, 1),
    "zeros50": with_zeros(0.5),
    "zeros80": with_zeros(0.8),
    "zeros90": with_zeros(0.9),
    "columns50": with_zero_columns(0.5),
    "columns80": with_zero_columns(0.8),
    "w4_zeros50": with_zeros(0.5, 7),
    "w4_zeros80": with_zeros(0.8, 7),
    "w4_zeros90": with_zeros(0.9, 7),
}


def recognizer(sizes: Sizes, grid: str, wide: bool) -> RnntIntegers:
    """A recognizer with random weights on a grid, in a chip's formats."""
    rng = np.random.default_rng(1)
    activation, wide_bias = (np.int16, np.int64) if wide else (np.int8, np.int32)
    input_format = TensorFormat(activation, 2.0**-11 if wide else 2.0**-4)
    hidden = TensorFormat(activation, 2.0**-15 if wide else 2.0**-7)
    projection = TensorFormat(activation, 2.0**-12 if wide else 2.0**-5)
    logits = TensorFormat(activation, 2.0**-10 if wide else 2.0**-3)

    def kernel(*shape: int) -> np.ndarray:
        return GRIDS[grid](rng, shape).astype(np.int8)

    def lstm(inputs: int, units: int, tensor_format: TensorFormat) -> LstmIntegers:
        return LstmIntegers(
            w_ih=kernel(4, units, inputs),
            w_hh=kernel(4, units, units),
            bias=np.zeros((4, units), wide_bias),
            input=tensor_format,
            hidden=hidden,
            cell=TensorFormat(np.int16, 2.0**-11),
            w_ih_scale=np.full(4, 2.0**-8, np.float32),
            w_hh_scale=np.full(4, 2.0**-8, np.float32),
        )

    def dense(inputs: int, outputs: int, output: TensorFormat) -> DenseIntegers:
        weights = kernel(outputs, inputs)
        bias = np.zeros(outputs, wide_bias)
        return DenseIntegers(weights, bias, hidden, output, np.float32(2.0**-8))

    layers = []
    for index in range(sizes.layers):
        reduced = index == sizes.layers_before_reduction
        width = sizes.hidden * (sizes.time_reduction if reduced else 1)
        first = index == 0
        layers.append(
            lstm(
                sizes.features if first else width, sizes.hidden, input_format if first else hidden
            )
        )
    table = rng.integers(-127, 128, (sizes.vocabulary, sizes.embedding)).astype(activation)
    return RnntIntegers(
        chip="ethos_u_16x8" if wide else "ethos_u_8x8_16",
        encoder=EncoderIntegers(
            tuple(layers),
            sizes.layers_before_reduction,
            sizes.time_reduction,
            dense(sizes.hidden, sizes.joint, projection),
        ),
        prediction=PredictionIntegers(
            table,
            input_format,
            1,
            (lstm(sizes.embedding, sizes.prediction, input_format),),
            dense(sizes.prediction, sizes.joint, projection),
        ),
        joint=JointIntegers(projection, hidden, dense(sizes.joint, sizes.vocabulary, logits)),
    )


def row(
    chip: str,
    grid: str,
    compiled: CompiledRecognizer,
    on_cpu: tuple[str, ...],
    workload: Workload,
) -> dict:
    """All figures of one configuration."""
    counts = workload.counts(compiled.chunk_frames)

    def total_ms(costs) -> float:
        return compiled.latency(counts, costs).ms_per_second

    return {
        "chip": chip,
        "target": compiled.target.name,
        "grid": grid,
        "chunk_frames": compiled.chunk_frames,
        "on_cpu": list(on_cpu),
        "npu_share": compiled.npu_share,
        "weight_bytes": compiled.weight_bytes,
        "encoded_weight_bytes": compiled.stored_weight_bytes,
        "call_ms": {g.network: dataclasses.asdict(call_time(g)) for g in compiled.graphs},
        "latency": dataclasses.asdict(compiled.latency(counts)),
        "ms_per_second_range": [total_ms(costs) for costs in CORTEX_M55.bounds()],
        "sensitivity": [dataclasses.asdict(s) for s in sensitivity(total_ms)] if on_cpu else [],
        "reports": [dataclasses.asdict(g) for g in compiled.graphs],
    }


HEADER = (
    "| chip | target | weights | chunk | on CPU | NPU share | weights KiB (as stored) "
    "| encoder / prediction / joint call, ms | ms per s of audio (host's range) | p90 | RTF |"
)


def table_line(r: dict) -> str:
    """One line of the table."""
    calls = " / ".join(f"{sum(time.values()):.3f}" for time in r["call_ms"].values())
    latency = r["latency"]
    low, high = r["ms_per_second_range"]
    span = f" ({low:.1f} - {high:.1f})" if r["on_cpu"] else ""
    return (
        f"| {r['chip']} | {r['target']} | {r['grid']} | {r['chunk_frames']} "
        f"| {', '.join(r['on_cpu']).lower() or '-'} | {100 * r['npu_share']:.0f} % "
        f"| {r['weight_bytes'] / 1024:.0f} ({r['encoded_weight_bytes'] / 1024:.0f}) | {calls} "
        f"| {latency['ms_per_second']:.2f}{span} | {latency['p90_ms_per_second']:.2f} "
        f"| {latency['real_time_factor']:.4f} |"
    )


def main() -> None:
    known = {target.name: target for target in TARGETS}
    for flag, choices in ((_TARGETS, known), (_GRIDS, GRIDS), (_CHIPS, ("16x8", "8x8_16"))):
        for value in flag.value:
            if value not in choices:
                raise flags.ValidationError(
                    f"--{flag.name}: {value!r} is none of {', '.join(choices)}"
                )
    workload, rows = Workload(), []
    print(HEADER)
    print("|" + "---|" * HEADER.count(" | ") + "---|")
    for chip in _CHIPS.value:
        for grid in _GRIDS.value:
            model = recognizer(Sizes(hidden=_HIDDEN.value), grid, wide=chip == "16x8")
            for target in (known[name] for name in _TARGETS.value):
                # The fused LSTM has no operators to take out: its fallback would be all CPU.
                fallbacks = ((), FALLBACK_OPERATORS) if chip == "16x8" else ((),)
                for on_cpu in fallbacks:
                    chunks = [int(frames) for frames in _CHUNKS.value]
                    for compiled in compile_recognizer(model, chunks, target, on_cpu):
                        rows.append(row(chip, grid, compiled, on_cpu, workload))
                        print(table_line(rows[-1]), flush=True)
    result = {"sizes": dataclasses.asdict(Sizes(hidden=_HIDDEN.value)), "rows": rows}
    result["workload"] = dataclasses.asdict(workload)
    Path(_OUTPUT.value).write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {_OUTPUT.value}")


if __name__ == "__main__":
    run(main)
