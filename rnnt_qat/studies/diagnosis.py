"""Diagnosis of a recognizer's arithmetic on real utterances, as a table and a heat map."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.diagnoser import Diagnoser, utterances
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.infra.json_values import finite
from rnnt_qat.quant.diagnostics import FIGURES, HISTOGRAM_BITS, Diagnosis

RATES = ("saturation_rate", "clip_rate", "table_end_rate")


def diagnose(
    recognizer: Recognizer,
    split: Split,
    data_dir: pathlib.Path,
    num_batches: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Diagnosis]:
    """Diagnoses a recognizer on the first batches of a split.

    Args:
      recognizer: a recognizer under a chip's policy.
      split: part of a corpus.
      data_dir: folder of the prepared corpora.
      num_batches: number of batches.
      progress: called with the numbers of finished and of all batches.

    Returns:
      One row per operator of each layer.
    """
    config, tokenizer = recognizer.config, recognizer.tokenizer
    batches = utterances(config, tokenizer, split, data_dir, num_batches)
    diagnoser = Diagnoser(config.model, recognizer.policy, recognizer.frontend, batches)
    return diagnoser(recognizer.variables, progress)


def write_diagnosis(directory: pathlib.Path, name: str, rows: Sequence[Diagnosis]) -> pathlib.Path:
    """Writes ``diagnosis-NAME.md``, its rows as JSON and a heat map ``diagnosis-NAME.png``.

    Args:
      directory: output folder.
      name: name of the recognizer.
      rows: rows of ``diagnose``.

    Returns:
      The path of the heat map.
    """
    columns = ["layer", "tensor", "operator", *FIGURES]
    lines = [columns, ["---"] * 3 + ["---:"] * (len(columns) - 3)]
    lines += [[row.layer, row.tensor, row.operator, *_figures(row)] for row in rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    stem = "diagnosis-" + "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    (directory / f"{stem}.md").write_text(f"# {name}\n\n{text}\n\n{_NOTES}\n")
    record = {
        "system": name,
        "histogram_bits": HISTOGRAM_BITS,
        "rows": [
            dataclasses.asdict(row) | {"badness": [_badness(row, name) for name in FIGURES]}
            for row in rows
        ],
    }
    (directory / f"{stem}.json").write_text(json.dumps(finite(record)) + "\n")
    path = directory / f"{stem}.png"
    from rnnt_qat.evaluation.plots import plot_heat_map  # slow import, needed at the end

    plot_heat_map(
        path,
        [f"{row.layer}  {row.tensor}  {row.operator}" for row in rows],
        ["saturated", "clipped", "table ends", "headroom", "raised", "SQNR"],
        np.array([[_badness(row, name) for name in columns[3:]] for row in rows]),
        [_figures(row) for row in rows],
        title=name,
    )
    return path


_NOTES = """\
Shares of the values that an operator wrote, over real utterances and their labels: at a bound of
the format, beyond it before rounding, at the ends of a sigmoid's or tanh's table. *headroom*: bits
of the accumulator that its largest sum left unused. *raised*: bits that a kernel lost because its
scale had to be raised until a far larger bias fit its integers. *SQNR*: the real result of the same
operands to the operator's own error. Dark is bad: a rate of 1 % and more, no headroom, 4 bits lost,
10 dB and less."""


def _figures(row: Diagnosis) -> list[str]:
    rates = [_rate_text(getattr(row, name)) for name in RATES]
    headroom = "" if np.isnan(row.headroom_bits) else f"{row.headroom_bits:.1f} bits"
    sqnr = f"{row.sqnr_db:.0f} dB" if np.isfinite(row.sqnr_db) else "exact"
    raised = f"{row.raised_bits:.1f} bits" if row.raised_bits else ""
    return [*rates, headroom, raised, sqnr]


def _rate_text(rate: float) -> str:
    """Returns a share of the values in %; empty if it is zero."""
    if not rate:
        return ""
    return "< 0.01 %" if rate < 1e-4 else f"{100 * rate:.2g} %"


def _badness(row: Diagnosis, name: str) -> float:
    """Returns a score from 0 (good) to 1 (bad); NaN if the figure does not apply."""
    value = getattr(row, name)
    if name in RATES:
        return float(np.clip(value / 0.01, 0, 1))
    if name == "headroom_bits":
        return float(np.clip(1 - value / 8, 0, 1))
    if name == "raised_bits":
        return float(np.clip(value / 4, 0, 1))
    return float(np.clip((60 - value) / 50, 0, 1))
