"""Comparison of several systems on the same chips: export, decoding, replay, compilation."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnt_qat.artefact.integers import RnntIntegers
from rnnt_qat.artefact.runtime_arithmetic import RuntimeArithmetic
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.processes import wait_for_all
from rnnt_qat.infra.progress import Progress
from rnnt_qat.latency.chip_compilation import CompiledRecognizer, compile_recognizer
from rnnt_qat.latency.cpu_costs import FALLBACK_OPERATORS
from rnnt_qat.latency.latency_report import LatencyRow, WordErrors, latency_row
from rnnt_qat.latency.systems import Method, System
from rnnt_qat.studies.chip_systems import ChipComparisonConfig
from rnnt_qat.studies.comparison import compare_recognizers, write_comparison
from rnnt_qat.studies.deployment import (
    decode_counts,
    export_recognizer,
    folder_name,
    integers,
    replay_test_set,
    search_of,
)
from rnnt_qat.verify.verification import Verification

_LONGEST_EXPORT_S = 24 * 3600


@dataclass(frozen=True, eq=False)
class ChipComparison:
    """Results of ``compare_on_chips``.

    Attributes:
      results: results of the streaming evaluator, by test set, then by system.
      verifications: results of the replays, by ``"SYSTEM, TEST SET"``.
      rows: rows of the latency table.
      compiled: compiled recognizers by system name, target name and chunk size in encoder frames.
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
    results: Sequence[EvaluationResult] | None = None,
) -> ChipComparison:
    """Freezes, exports, decodes, replays and compiles every system.

    Args:
      systems: recognizers by system. The first one is the baseline of the WER differences; this
        should be the float one, if there is one.
      config: scope of the comparison.
      data_dir: folder of the prepared corpora.
      output: output folder, with a subfolder per system.
      console: output of progress lines.
      results: greedy results of every system on every test set at one chunk size, named as the
        systems are; None to decode the test sets.

    Returns:
      Evaluation results, verifications, latency rows and compiled recognizers.
    """
    models: dict[System, RnntIntegers] = {}
    for system, recognizer in systems.items():
        if system.method is Method.FLOAT:
            continue
        with Progress(f"freezing {system.name}", console):
            models[system] = integers(system, recognizer)
        if system.method is not Method.FALLBACK:
            folder = output / folder_name(system)
            with Progress(f"writing graphs of {system.name}", console):
                export_recognizer(recognizer, models[system], config.chunks, folder)
            console.say(f"wrote {folder}")

    if results is None:
        results = decode_systems(systems, config.test, data_dir, console)
        first = next(iter(systems.values()))
        write_comparison(output / "evaluation", results, data_dir, first)
    found = {(result.system, result.test_set): result for result in results}

    verifications = {}
    for system, model in models.items():
        if system.method not in config.replayed:
            continue
        for split in config.replay:
            name = f"{system.name}, {split.name}"
            with Progress(f"replay of {name}", console, unit="frames") as progress:
                verifications[name] = replay_test_set(
                    systems[system],
                    model,
                    split,
                    data_dir,
                    config.chunks,
                    found[system.name, split.name],
                    progress.at,
                )
            console.say(f"{name}: {_verdict(verifications[name])}")

    compiled = _compile(_for_ethos_u(models, console), config, output, console)
    rows = []
    for (name, _, chunk), recognizer_on_chip in compiled.items():
        system = next(s for s in models if s.name == name)
        for split in config.test:
            result = found[name, split.name]
            wer = WordErrors(result.wer.value, result.wer.low, result.wer.high)
            counts = decode_counts(systems[system], result, chunk)
            rows.append(latency_row(system, split.name, wer, recognizer_on_chip, counts))
    return ChipComparison(list(results), verifications, rows, compiled)


def decode_systems(
    systems: Mapping[System, Recognizer],
    test: Sequence[Split],
    data_dir: Path,
    console: Console,
) -> list[EvaluationResult]:
    """Decodes the test sets greedily at the experiment's first chunk size.

    The processes of a job share this work: every one calls this function, ``compare_on_chips`` on
    process 0, and gets all results.

    Args:
      systems: recognizers by system.
      test: the test sets.
      data_dir: folder of the prepared corpora.
      console: output of progress lines.
    """
    wait_for_all("decoding systems", _LONGEST_EXPORT_S)  # process 0 writes graphs before
    first = next(iter(systems.values()))
    evaluation = dataclasses.replace(
        first.config.evaluation,
        search=search_of(first),
        chunk_ms=first.config.evaluation.chunk_ms[:1],
    )
    recognizers = {system.name: recognizer for system, recognizer in systems.items()}
    return compare_recognizers(recognizers, test, evaluation, data_dir, console)


def _for_ethos_u(
    models: Mapping[System, RnntIntegers], console: Console
) -> dict[System, RnntIntegers]:
    """Returns the models in LiteRT's arithmetic, which is Ethos-U's; names the others."""
    found = {s: m for s, m in models.items() if isinstance(m.arithmetic, RuntimeArithmetic)}
    for system in models.keys() - found.keys():
        console.say(
            f"{system.name}: not compiled, has no latency: Ethos-U computes other integers than "
            f"{models[system].chip}"
        )
    return found


def _compile(
    models: Mapping[System, RnntIntegers],
    config: ChipComparisonConfig,
    output: Path,
    console: Console,
) -> dict[tuple[str, str, int], CompiledRecognizer]:
    """Compiles every system by target and chunk; saves the graphs of systems without fallback."""
    pairs = list(itertools.product(models.items(), config.targets))
    compiled = {}
    with Progress("compiling with Vela", console, unit="systems and targets") as progress:
        for (system, model), target in progress.each(pairs, len(pairs)):
            fallback = system.method is Method.FALLBACK
            for one in compile_recognizer(
                model,
                config.chunks,
                target,
                on_cpu=FALLBACK_OPERATORS if fallback else (),
                keep_in=None if fallback else output / folder_name(system),
            ):
                compiled[system.name, target.name, one.chunk_frames] = one
    return compiled


def _verdict(verification: Verification) -> str:
    wrong = [a for a in verification.agreements if not a.exact]
    if not wrong:
        integers = sum(a.integers for a in verification.agreements)
        missing = f"; {verification.missing}" if verification.missing else ""
        return f"0 differing tokens, 0 of {integers:,} integers differ{missing}"
    return "; ".join(f"{a.decoder} DIFFERS, first at {a.first_difference}" for a in wrong)
