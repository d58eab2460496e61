"""Plots of engine latency: what the host's constants can do to it, and accuracy against it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rnnt_qat.latency.cpu_costs import Sensitivity

_LOW, _HIGH = "#4477aa", "#cc6677"


def plot_sensitivity(
    rows: Sequence[Sensitivity],
    value: float,
    path: str | os.PathLike[str],
    reference: float | None = None,
    unit: str = "engine ms per second of audio",
) -> None:
    """A tornado plot: one bar a constant, from the figure at its low to that at its high value.

    Args:
      rows: as ``cpu_costs.sensitivity`` returns them.
      value: the figure with every constant at its value.
      path: PNG file to write.
      reference: the same figure with every operator on the NPU, drawn as a line.
      unit: label of the axis.
    """
    figure = Figure(figsize=(7, 0.4 * len(rows) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = [row.constant.replace("_", " ") for row in reversed(rows)]
    for position, row in enumerate(reversed(rows)):
        for end, colour, label in ((row.at_low, _LOW, "low"), (row.at_high, _HIGH, "high")):
            shown = label if position == 0 else None
            axes.barh(position, end - value, left=value, color=colour, label=shown)
    axes.set_yticks(range(len(names)), names)
    axes.axvline(value, color="black", linewidth=1)
    if reference is not None:
        axes.axvline(reference, color="#228833", linestyle="--", label="all on the NPU")
    axes.set_xlabel(unit)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)


@dataclass(frozen=True)
class ParetoPoint:
    """One system in the plane of accuracy and latency.

    Attributes:
      label: name beside the point.
      group: systems of one group share a colour and a line, e.g. one training method.
      ms_per_second: engine latency.
      wer: word error rate, %.
      wer_interval: its bootstrap interval, %.
    """

    label: str
    group: str
    ms_per_second: float
    wer: float
    wer_interval: tuple[float, float]


def plot_pareto(
    panels: Mapping[str, Sequence[ParetoPoint]],
    path: str | os.PathLike[str],
    floor: float | None = None,
) -> None:
    """WER against engine latency, one line a group; down and left is better.

    Args:
      panels: points by title, e.g. one panel a target.
      path: PNG file to write.
      floor: WER of the floating-point model, %, drawn as a line.
    """
    figure = Figure(figsize=(5 * len(panels) + 1.5, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, points) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        _pareto_panel(axes, points, floor)
        axes.set_title(title)
    figure.axes[0].set_ylabel("WER, %")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=150)


def _pareto_panel(axes: Axes, points: Sequence[ParetoPoint], floor: float | None) -> None:
    if floor is not None:
        axes.axhline(floor, color="black", linestyle="--", linewidth=1, label="float")
    for group in dict.fromkeys(point.group for point in points):
        members = sorted((p for p in points if p.group == group), key=lambda p: p.ms_per_second)
        latency = [p.ms_per_second for p in members]
        wer = [p.wer for p in members]
        below = [max(0.0, p.wer - p.wer_interval[0]) for p in members]
        above = [max(0.0, p.wer_interval[1] - p.wer) for p in members]
        axes.errorbar(latency, wer, yerr=[below, above], marker="o", capsize=3, label=group)
        for p in members:
            axes.annotate(
                p.label, (p.ms_per_second, p.wer), textcoords="offset points", xytext=(5, 5)
            )
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel("engine ms per second of audio")
    axes.grid(alpha=0.3)
