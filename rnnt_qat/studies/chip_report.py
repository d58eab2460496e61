"""Report of accuracy against latency on chips, as Markdown, CSV and PNG."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from flax.traverse_util import flatten_dict

from rnnt_qat.evaluation.report import by_test_set, markdown_table, timing_table
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.latency.chip_compilation import CompiledRecognizer
from rnnt_qat.latency.cpu_costs import CORTEX_M55, CpuCosts, sensitivity
from rnnt_qat.latency.latency_plots import ParetoPoint, plot_pareto, plot_sensitivity
from rnnt_qat.latency.latency_report import (
    latency_table,
    ratio_table,
    verification_table,
    write_csv,
)
from rnnt_qat.latency.systems import Method, System
from rnnt_qat.studies.chip_comparison import ChipComparison
from rnnt_qat.studies.chip_systems import ChipComparisonConfig
from rnnt_qat.studies.deployment import decode_counts
from rnnt_qat.studies.headline import headline_table

REPORT = "report.md"
"""Name of the report in the folder of a comparison."""


def write_chip_report(
    comparison: ChipComparison,
    systems: Mapping[System, Recognizer],
    config: ChipComparisonConfig,
    output: Path,
    command: str,
) -> Path:
    """Writes ``report.md``, ``latency.csv`` and the plots.

    Args:
      comparison: result of ``compare_on_chips``.
      systems: the compared recognizers, by system.
      config: scope of the comparison.
      output: output folder.
      command: command line to show in the report.

    Returns:
      The report's path.
    """
    rows = comparison.rows
    write_csv(rows, output / "latency.csv")
    parts = [
        "# From training to the chip",
        f"    {command}",
        headline_table(comparison.results, rows, config.targets[0].name, config.chunks[-1]),
        _HEADLINE,
        "## Word error rates",
    ]
    if (output / "evaluation").exists():
        parts.append("Details, plots and examples in `evaluation/report.md`.")
    for test_set, group in by_test_set(comparison.results).items():
        parts += [f"### {test_set}", markdown_table(group), timing_table(group)]
    parts += ["## Weights and placement", _systems_table(comparison, systems)]
    if comparison.verifications:
        parts += ["## Replay", _REPLAY, verification_table(comparison.verifications)]
    if rows:
        parts += ["## Engine latency", _LATENCY]
    for split in config.test if rows else ():
        for target in config.targets:
            of = [r for r in rows if (r.test_set, r.target) == (split.name, target.name)]
            parts += [f"### {split.name} on {target.name}", latency_table(of)]
    if rows:
        parts += ["### Ratios", ratio_table(rows)]
        parts += [f"![WER against engine latency]({name})" for name in _pareto(comparison, output)]
        parts += _sensitivity(comparison, systems, config, output)
    report = output / REPORT
    report.write_text("\n\n".join(parts) + "\n", "utf-8")
    return report


_HEADLINE = """\
Greedy search on a stream where no beam is named; in brackets 95 % intervals of a bootstrap over
utterances, the difference paired by utterance, in bold where it leaves out 0. Weights, placement
and time on the chip are those of the greedy search. *Real-time factor*, where it was measured: wall
time of the batched decode on this machine per second of audio."""

_REPLAY = """\
Every utterance of the test set, decoded by each program on its own; results and recurrent states
after every call are compared with the NumPy player's for equality. Chunks are in encoder frames.
TFLM is compared with the player under TFLM's arithmetic. TOSA's reference model computes each of
the player's calls again, from the states that the player had."""

_LATENCY = """\
Cycles are Vela's own performance model of the graphs with the models' weights; calls are counted
from each system's own decodes. The CPU fallback leaves LOGISTIC, TANH, MUL and ADD to the host,
whose costs are estimates with ranges (`rnnt_qat/latency/cpu_costs.py`, table below): the range in
brackets moves all of them to their cheap and to their dear end. Not counted anywhere: the frontend,
and what the host does between calls (the embedding's row of a label, the largest logit). Floating
point does not run on these chips and has no latency here. A chunk is counted in encoder frames."""


def _systems_table(comparison: ChipComparison, systems: Mapping[System, Recognizer]) -> str:
    """Returns a table of weight bytes and operators on the NPU, one line per system."""
    lines = [
        "| system | bits | weights, KiB | stored by the compiler, KiB | operators on the NPU |",
        "|---|--:|--:|---|---|",
    ]
    for system, recognizer in systems.items():
        rows = [row for row in comparison.rows if row.system == system.name]
        if not rows:
            kernels = (
                leaf.size
                for path, leaf in flatten_dict(recognizer.variables["params"]).items()
                if path[-1].endswith("kernel") and path[0] != "ctc"
            )
            on_chip = system.method is not Method.FLOAT
            size = sum(kernels) * (1 if on_chip else 4)
            stored, shares = "-", "-" if on_chip else "0 %"
        else:
            size = rows[0].weight_bytes
            by_target = {r.target: r.stored_weight_bytes for r in rows}
            stored = ", ".join(f"{b / 1024:.0f} ({t})" for t, b in by_target.items())
            shares = _range([100 * row.npu_share for row in rows]) + " %"
        lines.append(
            f"| {system.name} | {system.weight_bits} | {size / 1024:.0f} | {stored} | {shares} |"
        )
    return "\n".join(lines)


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low} - {high}"


def _pareto(comparison: ChipComparison, output: Path) -> list[str]:
    """Writes a plot per test set and chunk, with a panel per target; returns the file names."""
    names = []
    floats = {
        r.test_set: 100 * r.wer.value for r in comparison.results if r.system == Method.FLOAT.value
    }
    keys = dict.fromkeys((r.test_set, r.chunk_frames) for r in comparison.rows)
    for test_set, chunk in keys:
        panels: dict[str, list[ParetoPoint]] = {}
        for r in comparison.rows:
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
    comparison: ChipComparison,
    systems: Mapping[System, Recognizer],
    config: ChipComparisonConfig,
    output: Path,
) -> list[str]:
    """Plots the sensitivity of the first fallback system to the host's cost constants.

    Returns:
      Markdown sections with a plot per target and the table of constants.
    """
    fallback = next((s for s in systems if s.method is Method.FALLBACK), None)
    if fallback is None:
        return []
    result = next(r for r in comparison.results if r.system == fallback.name)
    chunk = config.chunks[0]
    counts = decode_counts(systems[fallback], result, chunk)
    parts = [
        "### What the host's constants do",
        f"{fallback.name}, {result.test_set}, chunks of {chunk} encoder frames.",
    ]
    for target in config.targets:
        compiled = comparison.compiled[fallback.name, target.name, chunk]
        on_npu = [
            r.ms_per_second
            for r in comparison.rows
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
