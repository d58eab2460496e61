"""Tables of a sweep of policies over one or several float models (seeds), pooled by utterance."""

import csv
import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnnt_qat.evaluation.report import by_test_set, compare
from rnnt_qat.evaluation.result import EvaluationResult, UtteranceResult
from rnnt_qat.metrics.bootstrap import Interval
from rnnt_qat.metrics.wer import ErrorCounts
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.studies.sweep import AWARE, CALIBRATION, System


def pool(runs: Sequence[Sequence[EvaluationResult]]) -> list[EvaluationResult]:
    """Pools the same evaluations of several models (seeds) by adding errors per utterance.

    An utterance remains one unit of the bootstrap, independent of the number of models. Texts,
    tokens and times are those of the first model.
    """

    def pooled(*utterances: UtteranceResult) -> UtteranceResult:
        return dataclasses.replace(
            utterances[0],
            words=ErrorCounts.total(u.words for u in utterances),
            characters=ErrorCounts.total(u.characters for u in utterances),
        )

    return [
        dataclasses.replace(
            results[0],
            utterances=tuple(map(pooled, *(result.utterances for result in results))),
        )
        for results in zip(*runs, strict=True)
    ]


Row = dict[str, Any]
"""Values of a system on a test set, by column; rates are fractions, not percentages."""


def grid_rows(runs: Sequence[Sequence[EvaluationResult]], systems: Iterable[System]) -> list[Row]:
    """Returns one row per system on a test set, pooled over models and with each model's WER.

    Args:
      runs: results of each model on the test set, with the same systems in the same order; the
        first system is the baseline.
      systems: the systems named in the results.
    """
    by_name = {system.name: system for system in systems}
    rows, pooled = [], pool(runs)
    for index, comparison in enumerate(compare(pooled)):
        result, metrics = comparison.result, dict(comparison.result.metrics())
        system = by_name[result.system]
        row = {
            "test_set": result.test_set,
            "system": system.name,
            "chunk_ms": result.chunk_ms,
            "model_bytes": system.bytes,
        }
        row |= {name: metrics[name] for name in ("wer", "wer_low", "wer_high")}
        row |= dict.fromkeys(f"difference{end}" for end in _ENDS)
        difference = comparison.difference and comparison.difference.difference
        row |= _columns("difference", difference) if difference else {}
        row |= {f"{kind}_rate": metrics[f"{kind}_rate"] for kind in _KINDS}
        row |= dict.fromkeys(f"{of}{end}" for of in ("gain", "left") for end in _ENDS)
        row["won_back"] = None
        row["real_time_factor"] = metrics.get("real_time_factor")
        row |= {f"wer_model_{n}": run[index].wer.value for n, run in enumerate(runs)}
        rows.append(row)
    _add_gains(rows, pooled, by_name)
    return rows


_KINDS = ("deletion", "substitution", "insertion")


def _add_gains(
    rows: Sequence[Row], results: Sequence[EvaluationResult], by_name: Mapping[str, System]
) -> None:
    """Compares each system that was trained through a policy with two others.

    Adds the paired differences to the system only calibrated on the policy, and to the float model
    after the same steps in floating point, if the sweep has it; and the fraction of the calibrated
    system's loss that training recovers, where what is left is counted from the latter model. A
    loss whose interval contains zero has no such fraction: it would be a quotient of noise.
    """
    found = {
        (s.policy, s.stage, row["chunk_ms"]): (row, result)
        for row, result in zip(rows, results, strict=True)
        for s in [by_name[row["system"]]]
    }
    for (policy, stage, chunk_ms), (row, trained) in found.items():
        if stage != AWARE:
            continue
        remaining = row["difference"] or 0
        if policy != FLOAT32.name and (FLOAT32.name, AWARE, chunk_ms) in found:
            left = _difference_of(found[FLOAT32.name, AWARE, chunk_ms][1], trained)
            row |= _columns("left", left)
            remaining = left.value
        if (policy, CALIBRATION, chunk_ms) not in found:
            continue
        calibrated, before = found[policy, CALIBRATION, chunk_ms]
        row |= _columns("gain", _difference_of(before, trained))
        if (calibrated["difference_low"] or 0) > 0:
            row["won_back"] = 1 - remaining / calibrated["difference"]


_ENDS = ("", "_low", "_high")


def _difference_of(before: EvaluationResult, after: EvaluationResult) -> Interval:
    """Returns the paired difference of two systems' word error rates on a test set."""
    comparison = compare([before, after])[1].difference
    assert comparison is not None  # the second of two has one
    return comparison.difference


def _columns(name: str, interval: Interval) -> Row:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def write_csv(path: pathlib.Path, rows: Sequence[Row]) -> None:
    """Writes rows as CSV; values that do not apply are empty.

    Args:
      path: file to write.
      rows: rows of any test sets.
    """
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def markdown_grid(rows: Sequence[Row]) -> str:
    """Returns the rows of one test set as a Markdown table."""
    models = [name for name in rows[0] if name.startswith("wer_model_")]
    header = ["system", "parameters", "WER", "WER - float", "deletions"]
    header += ["trained - calibrated", "won back"]
    controlled = any(row["left"] is not None for row in rows)
    header += ["trained - float, trained"] * controlled
    timed = any(row["real_time_factor"] is not None for row in rows)
    header += ["real-time factor"] * timed
    header += ["WER of each model"] * (len(models) > 1)
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for row in rows:
        cells = [
            row["system"],
            f"{row['model_bytes'] / 1000:,.0f} kB",
            f"{_percent(row['wer'])} {_range(row, 'wer')}",
            "baseline" if row["difference"] is None else _difference(row, "difference"),
            _percent(row["deletion_rate"]),
            "" if row["gain"] is None else _difference(row, "gain"),
            "" if row["won_back"] is None else f"{100 * row['won_back']:.0f} %",
        ]
        if controlled:
            cells.append("" if row["left"] is None else _difference(row, "left"))
        if timed:
            factor = row["real_time_factor"]
            cells.append("-" if factor is None else f"{factor:.3g}")
        if len(models) > 1:
            cells.append(", ".join(f"{100 * row[name]:.2f}" for name in models))
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def test_set_tables(
    runs: Sequence[Sequence[EvaluationResult]], systems: Sequence[System]
) -> list[list[Row]]:
    """Returns the rows of each test set.

    Args:
      runs: results of each model, with the same test sets and systems in the same order.
      systems: the systems named in the results.
    """
    groups = zip(*(by_test_set(run).values() for run in runs), strict=True)
    return [grid_rows(group, systems) for group in groups]


def write_grid(
    folder: pathlib.Path,
    tables: Sequence[Sequence[Row]],
    by_beam: Sequence[Sequence[Row]] = (),
    beam_size: int = 0,
) -> pathlib.Path:
    """Writes ``grid.md`` and ``grid.csv``, and ``grid_beam_N.csv`` of a beam search.

    Args:
      folder: output folder.
      tables: rows of each test set by the models' own search.
      by_beam: those by a beam search; none if it was not measured.
      beam_size: its width.

    Returns:
      The path of ``grid.md``.
    """
    sections = []
    for of_search, title, suffix in (
        (tables, "", ""),
        (by_beam, f", beam of {beam_size}", f"_beam_{beam_size}"),
    ):
        if of_search:
            write_csv(folder / f"grid{suffix}.csv", [row for rows in of_search for row in rows])
        sections += [
            f"## {rows[0]['test_set']}{title}\n\n{markdown_grid(rows)}" for rows in of_search
        ]
    path = folder / "grid.md"
    path.write_text("\n\n".join(["# Grid", *sections, NOTES]) + "\n")
    return path


NOTES = """\
(a) floating point; (b) its weights on the chip, calibrated; (c) trained through integer matrix
products, the other operators in floating point on the CPU; (d) trained through all of the chip's
arithmetic; *float32, trained*, where asked for: the same further steps in floating point.
*parameters*: kernels, biases and embedding, packed. *won back*: share of what the same policy loses
when only calibrated, where that loss is more than chance; what is left is counted from *float32,
trained* where that was asked for. Intervals are a bootstrap's over utterances, the errors of all
models pooled by utterance; *WER - float* and *trained - ...* are paired, in points, in bold where
they leave out 0. *real-time factor*, with `--beam`: wall time
of the batched decode on this machine per second of audio, of the first model."""


def _difference(row: Row, name: str) -> str:
    text = f"{100 * row[name]:+.2f} {_range(row, name, '+')}"
    return f"**{text}**" if row[f"{name}_low"] > 0 or row[f"{name}_high"] < 0 else text


def _range(row: Row, name: str, sign: str = "") -> str:
    low, high = (f"{100 * row[f'{name}_{end}']:{sign}.2f}" for end in ("low", "high"))
    return f"[{low}, {high}]"


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"
