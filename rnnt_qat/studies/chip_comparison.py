"""Several systems taken to the same chips: exported, decoded, replayed, compiled."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.infra.console import Console
from rnnt_qat.latency.chip_compilation import CompiledRecognizer, compile_recognizer
from rnnt_qat.latency.cpu_costs import FALLBACK_OPERATORS
from rnnt_qat.latency.latency_report import LatencyRow, WordErrors, latency_row
from rnnt_qat.latency.systems import Method, System
from rnnt_qat.latency.vela import TARGETS, NpuTarget
from rnnt_qat.studies.comparison import compare_recognizers, write_comparison
from rnnt_qat.studies.deployment import (
    decode_counts,
    export_recognizer,
    folder_name,
    integers,
    progress_line,
    replay_test_set,
    search_of,
)
from rnnt_qat.verify.verification import Verification


@dataclass(frozen=True)
class ChipComparisonConfig:
    """What is compiled and measured.

    Attributes:
      test: test sets that are decoded.
      replay: those of them that are replayed through every runtime.
      targets: chips.
      chunks: encoder frames a chunk.
    """

    test: tuple[Split, ...]
    replay: tuple[Split, ...]
    targets: tuple[NpuTarget, ...] = TARGETS
    chunks: tuple[int, ...] = (1, 4)

    def __post_init__(self):
        """Refuses chunks without a frame."""
        if not self.chunks or min(self.chunks) < 1:
            raise ValueError(f"chunks={self.chunks}: a chunk has at least one encoder frame")


@dataclass(frozen=True, eq=False)
class ChipComparison:
    """What ``compare_on_chips`` found.

    Attributes:
      results: of the streaming evaluator, by test set and then by system.
      verifications: of the replays, by system and test set.
      rows: the latency table.
      compiled: by system, target name and chunk.
    """

    results: list[EvaluationResult]
    verifications: dict[str, Verification]
    rows: list[LatencyRow]
    compiled: dict[tuple[str, str, int], CompiledRecognizer]


def compare_on_chips(
    systems: Mapping[System, Recognizer],
    config: ChipComparisonConfig,
    data_dir: Path,
    output: Path,
    console: Console,
) -> ChipComparison:
    """Freezes, writes, decodes, replays and compiles every system.

    Args:
      systems: the float one first, if there is one: the baseline of the WERs.
      config: what to compile and measure.
      data_dir: where corpora are prepared.
      output: takes a folder a system.
      console: takes progress lines.
    """
    models: dict[System, RnntIntegers] = {}
    for system, recognizer in systems.items():
        if system.method is Method.FLOAT:
            continue
        models[system] = integers(system, recognizer)
        if system.method is not Method.FALLBACK:
            folder = output / folder_name(system)
            export_recognizer(recognizer, models[system], config.chunks, folder)
            console.say(f"wrote {folder}")

    first = next(iter(systems.values()))
    evaluation = dataclasses.replace(
        first.config.evaluation,
        search=search_of(first),
        chunk_ms=first.config.evaluation.chunk_ms[:1],
    )
    recognizers = {system.name: recognizer for system, recognizer in systems.items()}
    results = compare_recognizers(recognizers, config.test, evaluation, data_dir, console)
    write_comparison(output / "evaluation", results, data_dir, first)
    found = {(result.system, result.test_set): result for result in results}

    verifications = {}
    for system, model in models.items():
        if system.method is Method.FALLBACK:
            continue
        for split in config.replay:
            name = f"{system.name}, {split.name}"
            verifications[name] = replay_test_set(
                systems[system],
                model,
                split,
                data_dir,
                config.chunks,
                found[system.name, split.name],
                progress_line(console, f"replay of {name}"),
            )
            console.say(f"{name}: {_verdict(verifications[name])}")

    compiled = _compile(models, config, output, console)
    rows = []
    for (name, _, chunk), recognizer_on_chip in compiled.items():
        system = next(s for s in models if s.name == name)
        for split in config.test:
            result = found[name, split.name]
            wer = WordErrors(result.wer.value, result.wer.low, result.wer.high)
            counts = decode_counts(systems[system], result, chunk)
            rows.append(latency_row(system, split.name, wer, recognizer_on_chip, counts))
    return ChipComparison(results, verifications, rows, compiled)


def _compile(
    models: Mapping[System, RnntIntegers],
    config: ChipComparisonConfig,
    output: Path,
    console: Console,
) -> dict[tuple[str, str, int], CompiledRecognizer]:
    """By system, target and chunk; the graphs of those on a chip are kept beside their sources."""
    compiled = {}
    tell = progress_line(console, "compiling")
    done, total = 0, len(models) * len(config.targets)
    for system, model in models.items():
        fallback = system.method is Method.FALLBACK
        for target in config.targets:
            for one in compile_recognizer(
                model,
                config.chunks,
                target,
                on_cpu=FALLBACK_OPERATORS if fallback else (),
                keep_in=None if fallback else output / folder_name(system),
            ):
                compiled[system.name, target.name, one.chunk_frames] = one
            done += 1
            tell(done, total)
    return compiled


def _verdict(verification: Verification) -> str:
    wrong = [a for a in verification.agreements if not a.exact]
    if not wrong:
        integers = sum(a.integers for a in verification.agreements)
        return f"0 differing tokens, 0 of {integers:,} integers differ"
    return "; ".join(f"{a.decoder} DIFFERS, first at {a.first_difference}" for a in wrong)
