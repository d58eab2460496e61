"""Accuracy and engine latency: one row per system, test set, target and chunk size."""

import csv
import dataclasses
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnt_qat.artefact.runtime_arithmetic import LITERT, TFLM, RuntimeArithmetic
from rnnt_qat.latency.chip_compilation import CompiledRecognizer
from rnnt_qat.latency.cpu_costs import CORTEX_M55
from rnnt_qat.latency.engine_latency import DecodeCounts
from rnnt_qat.latency.systems import Method, System
from rnnt_qat.verify.verification import Verification


@dataclass(frozen=True)
class WordErrors:
    """Word error rate with its interval, as fractions.

    Attributes:
      value: the rate.
      low: lower end of the interval.
      high: upper end of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LatencyRow:
    """One row of the table; times are in ms, shares in [0, 1].

    Attributes:
      system: name of the recognizer.
      method: method that produced its arithmetic.
      weight_bits: width of its kernels.
      shape: variant of its LSTMs in the graphs.
      trained: whether it was trained through its policy.
      test_set: name of the test set.
      wer: word error rate on the test set.
      wer_low: lower end of its interval.
      wer_high: upper end of its interval.
      target: name of the chip.
      chunk_frames: encoder frames per chunk.
      npu_share: fraction of operators on the NPU.
      npu_calls: number of NPU calls per encoder call.
      weight_bytes: bytes of weights before compression.
      stored_weight_bytes: bytes as compiled, biases and scales included.
      encoder_call_ms: time of one encoder chunk.
      prediction_call_ms: time of one prediction step.
      joint_call_ms: time of one joint step.
      ms_per_second: engine time per second of audio.
      cheapest_host: engine time per second with every constant of the host at its fastest.
      dearest_host: engine time per second with every constant of the host at its slowest.
      p50_ms_per_second: median over utterances.
      p90_ms_per_second: 90th percentile over utterances.
      p50_utterance_ms: median engine time of an utterance.
      p90_utterance_ms: 90th percentile of the engine time of an utterance.
      real_time_factor: engine time divided by audio time.
    """

    system: str
    method: str
    weight_bits: str
    shape: str
    trained: bool
    test_set: str
    wer: float
    wer_low: float
    wer_high: float
    target: str
    chunk_frames: int
    npu_share: float
    npu_calls: int
    weight_bytes: int
    stored_weight_bytes: int
    encoder_call_ms: float
    prediction_call_ms: float
    joint_call_ms: float
    ms_per_second: float
    cheapest_host: float
    dearest_host: float
    p50_ms_per_second: float
    p90_ms_per_second: float
    p50_utterance_ms: float
    p90_utterance_ms: float
    real_time_factor: float


def latency_row(
    system: System,
    test_set: str,
    wer: WordErrors,
    compiled: CompiledRecognizer,
    counts: DecodeCounts,
) -> LatencyRow:
    """Returns the row of one system on one target.

    Args:
      system: the recognizer.
      test_set: name of the test set of ``wer`` and ``counts``.
      wer: its word error rate.
      compiled: its compiled graphs.
      counts: calls of its own decodes, with the chunk size of ``compiled``.
    """
    times, latency = compiled.times(), compiled.latency(counts)
    cheapest, dearest = (
        compiled.latency(counts, costs).ms_per_second for costs in CORTEX_M55.bounds()
    )
    return LatencyRow(
        system=system.name,
        method=system.method.value,
        weight_bits=system.weight_bits,
        shape=system.shape,
        trained=system.trained,
        test_set=test_set,
        wer=wer.value,
        wer_low=wer.low,
        wer_high=wer.high,
        target=compiled.target.name,
        chunk_frames=compiled.chunk_frames,
        npu_share=compiled.npu_share,
        npu_calls=compiled.encoder.placement.npu_calls,
        weight_bytes=compiled.weight_bytes,
        stored_weight_bytes=compiled.stored_weight_bytes,
        encoder_call_ms=times.encoder_chunk_ms,
        prediction_call_ms=times.prediction_step_ms,
        joint_call_ms=times.joint_step_ms,
        ms_per_second=latency.ms_per_second,
        cheapest_host=cheapest,
        dearest_host=dearest,
        p50_ms_per_second=latency.p50_ms_per_second,
        p90_ms_per_second=latency.p90_ms_per_second,
        p50_utterance_ms=latency.p50_utterance_ms,
        p90_utterance_ms=latency.p90_utterance_ms,
        real_time_factor=latency.real_time_factor,
    )


def write_csv(rows: Sequence[LatencyRow], path: Path) -> None:
    """Writes all columns, one line per row."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(LatencyRow)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)


def verification_table(found: Mapping[str, Verification]) -> str:
    """Formats the results of ``verify`` by system as a Markdown table."""
    lines = [
        "| system | decoder | chunk | utterances | tokens | differing tokens | integers compared "
        "| differing integers |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    differences: list[str] = []
    rounding: list[str] = []
    for system, verification in found.items():
        for a in verification.agreements:
            integers = f"{a.integers:,} | {a.differing_integers}" if a.integers else "- | -"
            lines.append(
                f"| {system} | {a.decoder} | {a.chunk_frames or '-'} | {a.utterances} | {a.tokens} "
                f"| {a.differing_tokens} | {integers} |"
            )
            if a.first_difference:
                differences.append(f"- **{system}, {a.decoder}** differs: {a.first_difference}")
        if verification.missing:
            differences.append(f"- {system}: {verification.missing}")
        if verification.tflm_differing_tokens is not None:
            rounding.append(f"{verification.tflm_differing_tokens} of {system}")
    if not rounding:
        return "\n".join([*lines, "", *differences])
    fields = [
        f"`{field.name}` ({_choice(getattr(LITERT, field.name))} in LiteRT, "
        f"{_choice(getattr(TFLM, field.name))} in TFLM)"
        for field in dataclasses.fields(RuntimeArithmetic)
    ]
    explained = (
        f"TFLM's tokens that are not LiteRT's: {'; '.join(rounding)}. The two round differently in "
        f"{', '.join(fields)}: fields of `arithmetic` in the artefact's manifest, and with TFLM's "
        "values in them the player equals TFLM in the table above."
    )
    return "\n".join([*lines, "", *differences, explained])


def _choice(value: enum.Enum | bool) -> str:
    return str(value.value if isinstance(value, enum.Enum) else value).lower()


def latency_table(rows: Sequence[LatencyRow]) -> str:
    """Formats the rows of one test set and target as a Markdown table."""
    lines = [
        "| system | chunk | WER | NPU share | NPU calls a chunk | weights, KiB (stored) "
        "| encoder / prediction / joint call, ms | ms per s of audio (host's range) | p50 / p90 "
        "| utterance p50 / p90, ms | RTF |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in rows:
        span = "" if r.npu_share == 1 else f" ({r.cheapest_host:.2f} - {r.dearest_host:.2f})"
        lines.append(
            f"| {r.system} | {r.chunk_frames} | {100 * r.wer:.1f} % | {100 * r.npu_share:.0f} % "
            f"| {r.npu_calls} | {r.weight_bytes / 1024:.0f} ({r.stored_weight_bytes / 1024:.0f}) "
            f"| {r.encoder_call_ms:.3f} / {r.prediction_call_ms:.3f} / {r.joint_call_ms:.3f} "
            f"| {r.ms_per_second:.2f}{span} "
            f"| {r.p50_ms_per_second:.2f} / {r.p90_ms_per_second:.2f} "
            f"| {r.p50_utterance_ms:.1f} / {r.p90_utterance_ms:.1f} | {r.real_time_factor:.4f} |"
        )
    return "\n".join(lines)


def ratio_table(rows: Sequence[LatencyRow]) -> str:
    """Formats the latency of each system entirely on the NPU relative to two others.

    The others are its CPU fallback with the same weight bits (the trained one if there is one),
    with the range of the host's constants, and its own variant with 8-bit weights.
    """
    lines = [
        "| test set | target | chunk | system | by the CPU fallback (dearest ... cheapest host) "
        "| by its W8 |",
        "|---|---|--:|---|--:|--:|",
    ]
    for r in rows:
        if r.npu_share < 1:
            continue
        place = [
            o
            for o in rows
            if (o.test_set, o.target, o.chunk_frames) == (r.test_set, r.target, r.chunk_frames)
        ]
        fallbacks = [
            o for o in place if o.method == Method.FALLBACK.value and o.weight_bits == r.weight_bits
        ]
        wide = [o for o in place if (o.method, o.shape, o.weight_bits) == (r.method, r.shape, "8")]
        by_fallback = by_wide = "-"
        if fallbacks:
            f = max(fallbacks, key=lambda o: o.trained)  # the best that this way offers
            by_fallback = (
                f"{r.ms_per_second / f.ms_per_second:.2f} "
                f"({r.ms_per_second / f.dearest_host:.2f} ... "
                f"{r.ms_per_second / f.cheapest_host:.2f})"
            )
        if wide and r.weight_bits != "8":
            by_wide = f"{r.ms_per_second / wide[0].ms_per_second:.2f}"
        lines.append(
            f"| {r.test_set} | {r.target} | {r.chunk_frames} | {r.system} | {by_fallback} "
            f"| {by_wide} |"
        )
    return "\n".join(lines)
