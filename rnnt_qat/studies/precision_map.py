"""Precision map: the effect of each of a chip's fields on accuracy, varied one at a time.

Each axis is a field of the chip (``accelerators.design``) with values from high to low precision;
the other fields keep the chip's values. For every value, the report shows the loss of accuracy
relative to the float model after calibration and after training through the chip's arithmetic, with
paired intervals.
"""

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnt_qat.evaluation.plots import COLOURS, FAINT, INK
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policies import build_policy, parse_policy
from rnnt_qat.quant.policy_spec import Change, PolicySpec
from rnnt_qat.studies.grid import Row
from rnnt_qat.studies.sweep import AWARE, CALIBRATION, System


@dataclass(frozen=True)
class Axis:
    """A field of a chip with the values to try.

    Attributes:
      title: title in reports.
      field: name of the field in ``accelerators.design.FIELDS``.
      values: values from high to low precision.
    """

    title: str
    field: str
    values: tuple[int | str, ...]


AXES = (
    Axis(
        "Sigmoid and tanh units", "gate.unit", ("table256", "table64", "nearest64", "plan", "hard")
    ),
    Axis("Bits of the gates", "gate.bits", (16, 12, 8, 6, 4)),
    Axis("Bits of the gates' inputs", "gate_pre.bits", (16, 12, 10, 8, 6)),
    Axis("Bits of the cell state", "cell.bits", (16, 12, 10, 8, 6)),
    Axis("Bits of the hidden state", "hidden.bits", (8, 6, 5, 4, 3)),
    Axis("Bits of the layers' inputs", "input.bits", (8, 6, 5, 4, 3)),
    Axis("Bits of the weights", "weights.bits", (8, 6, 4, 3, 2)),
    Axis("Bits of the accumulator", "accumulator.bits", (32, 20, 18, 16, 15)),
    Axis("Rounding", "rounding", ("even", "away", "up", "truncate")),
)
"""The axes of a chip with 8-bit products and fixed formats."""


@dataclass(frozen=True)
class Point:
    """A value on an axis.

    Attributes:
      axis: the axis.
      value: the value as text.
      policy: policy line of the chip with that value; the chip's own line if the value is its own.
    """

    axis: Axis
    value: str
    policy: str


def points(base: str, axes: Sequence[Axis] = AXES) -> list[Point]:
    """Returns the points of a map around a chip.

    Args:
      base: line of a policy with one chip for all layers.
      axes: fields to vary.

    Raises:
      PolicyError: if the base is not a valid policy.
      ValueError: if the chip cannot take one of the values.
    """
    spec = parse_policy(base)
    found = []
    for axis in axes:
        for value in axis.values:
            changed = replace(spec, default=spec.default.changed([Change(axis.field, value)]))
            policy = spec if _same_chip(spec, changed) else changed
            found.append(Point(axis, str(value), str(policy)))
    return found


def _same_chip(spec: PolicySpec, changed: PolicySpec) -> bool:
    """Returns whether two policies have the same chip, except for its name."""
    own, other = (build_policy(each).rules[-1].precision for each in (spec, changed))
    if not (isinstance(own, OnAccelerator) and isinstance(other, OnAccelerator)):
        return False
    return replace(other.spec, name=own.spec.name) == own.spec


def policies(base: str, axes: Sequence[Axis] = AXES) -> tuple[str, ...]:
    """Returns the distinct policy lines of all points, starting with the chip's own."""
    lines = (str(parse_policy(base)), *(point.policy for point in points(base, axes)))
    return tuple(dict.fromkeys(lines))


def write_map(
    directory: pathlib.Path,
    base: str,
    tables: Mapping[str, Sequence[Row]],
    systems: Sequence[System],
    axes: Sequence[Axis] = AXES,
) -> pathlib.Path:
    """Writes ``map.md`` and a plot per test set.

    Args:
      directory: output folder.
      base: policy line of the chip.
      tables: rows of ``grid.grid_rows`` by test set, for one chunk size.
      systems: the systems of the rows.
      axes: the fields that were varied.

    Returns:
      The path of ``map.md``.
    """
    by_name = {system.name: (system.policy, system.stage) for system in systems}
    sections = [f"# What precision does a chip like {base} need?", _INTRODUCTION]
    for number, (test_set, rows) in enumerate(tables.items()):
        found = {by_name[row["system"]]: row for row in rows}
        plot = directory / f"map_{number}.png"
        plot_map(plot, base, found, axes)
        sections += [f"## {test_set}", f"![WER lost along each axis]({plot.name})"]
        sections.append(_needs(base, found, axes))
        sections += [_table(axis, base, found, axes) for axis in axes]
    path = directory / "map.md"
    path.write_text("\n\n".join(sections) + "\n")
    return path


_INTRODUCTION = """\
One field of the chip is changed at a time. *calibrated*: the float model on the chip as it is;
*trained*: after training through the chip's arithmetic. Both are WER minus the float model's, in
points, paired by utterance, with 95 % intervals of the bootstrap; bold where the interval leaves
out 0. *won back*: share of the calibrated loss that training takes away, where that loss is
significant. *suffices*: the meanest value up to which no loss is significant; with a wide interval
this says that the test set cannot tell, not that nothing is lost."""

Found = Mapping[tuple[str, str], Row]
"""Rows by policy line and stage."""

_CURVES = {CALIBRATION: ("calibrated", COLOURS[1]), AWARE: ("trained", COLOURS[0])}


def _measured(found: Found) -> list[str]:
    """Returns the stages that have rows: a map may be of calibration alone."""
    return [stage for stage in _CURVES if any(stage == each for _, each in found)]


def _of_axis(axis: Axis, base: str, axes: Sequence[Axis]) -> list[Point]:
    return [point for point in points(base, axes) if point.axis == axis]


def _needs(base: str, found: Found, axes: Sequence[Axis]) -> str:
    """Returns a table of the lowest sufficient precision along each axis."""
    stages = _measured(found)
    lines = [" | ".join(["| axis", *(f"suffices, {_CURVES[stage][0]}" for stage in stages)]) + " |"]
    lines.append("|---" * (1 + len(stages)) + "|")
    for axis in axes:
        cells = []
        for stage in stages:
            enough = "none tried"
            for point in _of_axis(axis, base, axes):
                row = found.get((point.policy, stage))
                if row is None:
                    enough = "not measured"
                    break
                if row["difference_low"] > 0:
                    break
                enough = f"`{point.value}`"
            cells.append(enough)
        lines.append(f"| {axis.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _table(axis: Axis, base: str, found: Found, axes: Sequence[Axis]) -> str:
    stages = _measured(found)
    titles = ["value", *(_CURVES[stage][0] for stage in stages)]
    if AWARE in stages:
        titles.append("won back")
    lines = [f"**{axis.title}** (`{axis.field}`)\n", f"| {' | '.join(titles)} |"]
    lines.append("|---" + "|---:" * (len(titles) - 1) + "|")
    for point in _of_axis(axis, base, axes):
        own = " (the chip's)" if point.policy == str(parse_policy(base)) else ""
        rows = {stage: found.get((point.policy, stage)) for stage in stages}
        cells = ["" if row is None else _loss(row) for row in rows.values()]
        if AWARE in stages:
            calibrated, trained = rows.get(CALIBRATION), rows[AWARE]
            won = ""
            if calibrated and trained and calibrated["difference_low"] > 0:
                won = f"{100 * (1 - trained['difference'] / calibrated['difference']):.0f} %"
            cells.append(won)
        lines.append(f"| {' | '.join([f'`{point.value}`{own}', *cells])} |")
    return "\n".join(lines)


def _loss(row: Row) -> str:
    low, high = (100 * row[f"difference_{end}"] for end in ("low", "high"))
    text = f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def plot_map(path: pathlib.Path, base: str, found: Found, axes: Sequence[Axis] = AXES) -> None:
    """Plots the WER lost along each axis, one panel per axis.

    Args:
      path: PNG file to write.
      base: policy line of the chip.
      found: rows by policy line and stage.
      axes: the fields that were varied.
    """
    columns = 3
    lines = -(-len(axes) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.4 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        _plot_axis(panel, axis, _of_axis(axis, base, axes), found)
    for panel in panels[len(axes) :]:
        panel.set_visible(False)
    for panel in panels[::columns]:
        panel.set_ylabel("WER - float, points")
    # Linear for a few points, logarithmic above: a cliff does not hide what small losses there are.
    panels[0].set_yscale("symlog", linthresh=2, linscale=0.7)
    low, high = panels[0].get_ylim()
    ticks = (-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100)
    panels[0].set_yticks([value for value in ticks if low <= value <= high])
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].minorticks_off()
    panels[0].legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path, dpi=130)


def _plot_axis(panel: Axes, axis: Axis, along: Sequence[Point], found: Found) -> None:
    panel.axhline(0, color=FAINT, linewidth=0.8)
    for offset, (stage, (label, colour)) in zip((-0.08, 0.08), _CURVES.items(), strict=True):
        places: list[float] = []
        rows: list[dict[str, Any]] = []
        for place, point in enumerate(along):
            row = found.get((point.policy, stage))
            if row is not None:
                places.append(place + offset)
                rows.append(row)
        if not rows:
            continue
        values = [100 * row["difference"] for row in rows]
        errors = [
            [100 * (row["difference"] - row["difference_low"]) for row in rows],
            [100 * (row["difference_high"] - row["difference"]) for row in rows],
        ]
        panel.errorbar(
            places, values, errors, color=colour, label=label, marker="o", markersize=3.5,
            linewidth=1.2, capsize=2,
        )  # fmt: skip
    panel.set_title(axis.title, fontsize=9, loc="left", color=INK)
    panel.set_xticks(range(len(along)), [point.value for point in along], fontsize=7)
    panel.spines[["top", "right"]].set_visible(False)
