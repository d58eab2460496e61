"""Where a recognizer's arithmetic loses accuracy: diagnostics over real utterances, as a table."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from rnnt_qat.evaluation.plots import plot_heat_map
from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.diagnoser import Diagnoser, utterances
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.quant.diagnostics import Diagnosis

RATES = ("saturation_rate", "clip_rate", "table_end_rate")


def diagnose(
    recognizer: Recognizer, split: Split, data_dir: pathlib.Path, num_batches: int
) -> list[Diagnosis]:
    """Rows of a recognizer over the first batches of a split."""
    config, tokenizer = recognizer.config, recognizer.tokenizer
    batches = utterances(config, tokenizer, split, data_dir, num_batches)
    diagnoser = Diagnoser(config.model, recognizer.policy, recognizer.frontend, batches)
    return diagnoser(recognizer.variables)


def write_diagnosis(directory: pathlib.Path, name: str, rows: Sequence[Diagnosis]) -> pathlib.Path:
    """Writes ``diagnosis-NAME.md`` and a heat map ``diagnosis-NAME.png``; returns the picture."""
    columns = [field.name for field in dataclasses.fields(Diagnosis)]
    lines = [columns, ["---"] * 3 + ["---:"] * (len(columns) - 3)]
    lines += [[row.layer, row.tensor, row.operator, *_figures(row)] for row in rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    stem = "diagnosis-" + "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    (directory / f"{stem}.md").write_text(f"# {name}\n\n{text}\n\n{_NOTES}\n")
    path = directory / f"{stem}.png"
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
    rates = [f"{100 * getattr(row, name):.2g} %" if getattr(row, name) else "" for name in RATES]
    headroom = "" if np.isnan(row.headroom_bits) else f"{row.headroom_bits:.1f} bits"
    sqnr = f"{row.sqnr_db:.0f} dB" if np.isfinite(row.sqnr_db) else "exact"
    raised = f"{row.raised_bits:.1f} bits" if row.raised_bits else ""
    return [*rates, headroom, raised, sqnr]


def _badness(row: Diagnosis, name: str) -> float:
    """0 is good, 1 is bad, nan does not apply."""
    value = getattr(row, name)
    if name in RATES:
        return float(np.clip(value / 0.01, 0, 1))
    if name == "headroom_bits":
        return float(np.clip(1 - value / 8, 0, 1))
    if name == "raised_bits":
        return float(np.clip(value / 4, 0, 1))
    return float(np.clip((60 - value) / 50, 0, 1))
