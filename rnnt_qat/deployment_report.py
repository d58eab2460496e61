"""Several systems on one chip family: WER, engine latency, placement, as Markdown, CSV and PNG."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rnnt_qat.comparison import compare_recognizers, write_comparison
from rnnt_qat.deployment import (
    decode_counts,
    export_recognizer,
    folder_name,
    integers,
    progress_line,
    replay_test_set,
    search_of,
)
from rnnt_qat.evaluation.report import by_test_set, markdown_table
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.experiment_config import Split
from rnnt_qat.export.chip_compilation import CompiledRecognizer, compile_recognizer
from rnnt_qat.export.cpu_costs import CORTEX_M55, FALLBACK_OPERATORS, CpuCosts, sensitivity
from rnnt_qat.export.integers import RnntIntegers
from rnnt_qat.export.latency_plots import ParetoPoint, plot_pareto, plot_sensitivity
from rnnt_qat.export.latency_report import (
    LatencyRow,
    WordErrors,
    latency_row,
    latency_table,
    ratio_table,
    verification_table,
    write_csv,
)
from rnnt_qat.export.systems import Method, System
from rnnt_qat.export.vela import TARGETS, NpuTarget
from rnnt_qat.export.verification import Verification
from rnnt_qat.recognizer import Recognizer
from rnnt_qat.training.console import Console


@dataclass(frozen=True)
class DeploymentConfig:
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


@dataclass(frozen=True, eq=False)
class Deployment:
    """What ``deploy`` found.

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


def deploy(
    systems: Mapping[System, Recognizer],
    config: DeploymentConfig,
    data_dir: Path,
    output: Path,
    console: Console,
) -> Deployment:
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
    return Deployment(results, verifications, rows, compiled)


def write_deployment(
    deployment: Deployment,
    systems: Mapping[System, Recognizer],
    config: DeploymentConfig,
    output: Path,
    command: str,
) -> Path:
    """Writes ``report.md``, ``latency.csv`` and the plots; returns the report's path."""
    rows = deployment.rows
    write_csv(rows, output / "latency.csv")
    parts = [
        "# From training to the chip",
        f"    {command}",
        "## Word error rates",
        "Streaming greedy decoding; details, plots and examples in `evaluation/report.md`.",
    ]
    for test_set, group in by_test_set(deployment.results).items():
        parts += [f"### {test_set}", markdown_table(group)]
    if deployment.verifications:
        parts += ["## Replay", _REPLAY, verification_table(deployment.verifications)]
    if rows:
        parts += ["## Engine latency", _LATENCY]
    for split in config.test if rows else ():
        for target in config.targets:
            of = [r for r in rows if (r.test_set, r.target) == (split.name, target.name)]
            parts += [f"### {split.name} on {target.name}", latency_table(of)]
    if rows:
        parts += ["### Ratios", ratio_table(rows)]
        parts += [f"![WER against engine latency]({name})" for name in _pareto(deployment, output)]
        parts += _sensitivity(deployment, systems, config, output)
    report = output / "report.md"
    report.write_text("\n\n".join(parts) + "\n", "utf-8")
    return report


_REPLAY = """\
Every utterance of the test set, decoded by each program on its own; results and recurrent states
after every call are compared with the NumPy player's for equality. Chunks are in encoder frames.
TFLM is compared with the player under TFLM's arithmetic."""

_LATENCY = """\
Cycles are Vela's own performance model of the graphs with the models' weights; calls are counted
from each system's own decodes. The CPU fallback leaves LOGISTIC, TANH, MUL and ADD to the host,
whose costs are estimates with ranges (`rnnt_qat/export/cpu_costs.py`, table below): the range in
brackets moves all of them to their cheap and to their dear end. Floating point does not run on
these chips and has no latency here. A chunk is counted in encoder frames."""


def _compile(
    models: Mapping[System, RnntIntegers],
    config: DeploymentConfig,
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


def _pareto(deployment: Deployment, output: Path) -> list[str]:
    """One plot a test set and chunk, a panel a target; their names."""
    names = []
    floats = {
        r.test_set: 100 * r.wer.value for r in deployment.results if r.system == Method.FLOAT.value
    }
    keys = dict.fromkeys((r.test_set, r.chunk_frames) for r in deployment.rows)
    for test_set, chunk in keys:
        panels: dict[str, list[ParetoPoint]] = {}
        for r in deployment.rows:
            if (r.test_set, r.chunk_frames) == (test_set, chunk):
                interval = (100 * r.wer_low, 100 * r.wer_high)
                point = ParetoPoint(
                    f"W{r.weight_bits}",
                    f"{r.method} {r.shape}".strip(),
                    r.ms_per_second,
                    100 * r.wer,
                    interval,
                )
                panels.setdefault(r.target, []).append(point)
        test_set_in_file = "".join(c if c.isalnum() else "_" for c in test_set)
        names.append(f"pareto_{test_set_in_file}_chunk{chunk}.png")
        plot_pareto(panels, output / names[-1], floats.get(test_set))
    return names


def _sensitivity(
    deployment: Deployment,
    systems: Mapping[System, Recognizer],
    config: DeploymentConfig,
    output: Path,
) -> list[str]:
    """What the host's constants do to the first fallback, a plot a target, and their table."""
    fallback = next((s for s in systems if s.method is Method.FALLBACK), None)
    if fallback is None:
        return []
    result = next(r for r in deployment.results if r.system == fallback.name)
    chunk = config.chunks[0]
    counts = decode_counts(systems[fallback], result, chunk)
    parts = [
        "### What the host's constants do",
        f"{fallback.name}, {result.test_set}, chunks of {chunk} encoder frames.",
    ]
    for target in config.targets:
        compiled = deployment.compiled[fallback.name, target.name, chunk]
        on_npu = [
            r.ms_per_second
            for r in deployment.rows
            if (r.test_set, r.target, r.chunk_frames) == (result.test_set, target.name, chunk)
            and (r.npu_share, r.weight_bits) == (1, fallback.weight_bits)
        ]

        def total_ms(costs: CpuCosts, compiled: CompiledRecognizer = compiled) -> float:
            return compiled.latency(counts, costs).ms_per_second

        name = f"sensitivity_{target.name}.png"
        plot_sensitivity(
            sensitivity(total_ms),
            total_ms(CORTEX_M55),
            output / name,
            reference=on_npu[-1] if on_npu else None,
        )
        parts.append(f"![Sensitivity on {target.name}]({name})")
    table = ["| constant | value | range | source |", "|---|--:|--:|---|"]
    for field in dataclasses.fields(CORTEX_M55):
        estimate = getattr(CORTEX_M55, field.name)
        table.append(
            f"| {field.name.replace('_', ' ')} | {estimate.value:g} "
            f"| {estimate.low:g} - {estimate.high:g} | {estimate.source} |"
        )
    return [*parts, "\n".join(table)]
