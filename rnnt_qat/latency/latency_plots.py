"""Plots of engine latency: sensitivity to the host's constants, and accuracy against latency."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from rnnt_qat.latency.cpu_costs import Sensitivity

# Wong's palette for colour-blind readers (Nature Methods 2011), without its brighter half.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000")
_MARKERS = "osD^vP"  # one more than the colours, so that the pairs repeat after 30 groups
_LOW, _HIGH = "#0072b2", "#e69f00"


def plot_sensitivity(
    rows: Sequence[Sensitivity],
    value: float,
    path: str | os.PathLike[str],
    reference: float | None = None,
    unit: str = "engine ms per second of audio",
) -> None:
    """Draws a tornado plot: one bar per constant, from the result at its low to that at its high.

    Args:
      rows: result of ``cpu_costs.sensitivity``.
      value: the result with every constant at its value.
      path: PNG file to write.
      reference: the result with every operator on the NPU, drawn as a line; None draws none.
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
        axes.axvline(reference, color="#009e73", linestyle="--", label="all on the NPU")
    axes.set_xlabel(unit)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)


@dataclass(frozen=True)
class ParetoPoint:
    """One system in the plane of accuracy and latency.

    Attributes:
      label: name beside the point.
      group: systems of one group, e.g. one training method, share a colour and a line.
      ms_per_second: engine latency, in ms per second of audio.
      wer: word error rate, in percent.
      wer_interval: bootstrap interval of the word error rate, in percent.
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
    """Plots WER against engine latency with one line per group; lower left is better.

    Args:
      panels: points by title, e.g. one panel per target.
      path: PNG file to write.
      floor: WER of the floating-point model in percent, drawn as a line; None draws none.
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
    figure.canvas.draw()  # fixes the position of the panels
    figure.set_layout_engine("none")
    for axes, points in zip(figure.axes, panels.values(), strict=True):
        _label_points(axes, points)
    figure.savefig(path, dpi=150)


def _pareto_panel(axes: Axes, points: Sequence[ParetoPoint], floor: float | None) -> None:
    if floor is not None:
        axes.axhline(floor, color="black", linestyle="--", linewidth=1, label="float")
    groups = dict.fromkeys(point.group for point in points)
    signs = zip(itertools.cycle(_COLOURS), itertools.cycle(_MARKERS), strict=False)
    for group, (colour, marker) in zip(groups, signs, strict=False):
        members = sorted((p for p in points if p.group == group), key=lambda p: p.ms_per_second)
        latency = [p.ms_per_second for p in members]
        wer = [p.wer for p in members]
        below = [max(0.0, p.wer - p.wer_interval[0]) for p in members]
        above = [max(0.0, p.wer_interval[1] - p.wer) for p in members]
        axes.errorbar(
            latency, wer, yerr=[below, above], marker=marker, capsize=3, elinewidth=0.8,
            linewidth=1.5, label=group, color=colour,
        )  # fmt: skip
    axes.margins(y=0.15)
    # Leaves room for the label of the last point, and keeps points near 0 away from the axis.
    right = max(point.ms_per_second for point in points)
    axes.set_xlim(-0.04 * right, 1.3 * right)
    axes.set_xlabel("engine ms per second of audio")
    axes.grid(alpha=0.3)


def _label_points(axes: Axes, points: Sequence[ParetoPoint]) -> None:
    """Labels each point in the colour of its group, at a place that covers no other label or point.

    To be called when the layout is final. Labels that occur in several groups include the name of
    the group.
    """
    groups = dict.fromkeys(p.group for p in points)
    colours = dict(zip(groups, itertools.cycle(_COLOURS), strict=False))
    marks = [axes.transData.transform((p.ms_per_second, p.wer)) for p in points]
    taken: list[Bbox] = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in marks]
    inside = axes.get_window_extent()
    for point in sorted(points, key=lambda p: (p.ms_per_second, p.wer)):
        several = len({p.group for p in points if p.label == point.label}) > 1
        name = f"{point.label} {point.group}" if several else point.label
        text = axes.annotate(
            name,
            (point.ms_per_second, point.wer),
            textcoords="offset points",
            xytext=(0, 0),
            fontsize=8,
            color=colours[point.group],
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
            zorder=5,
        )
        best, least = (6.0, 6.0), float("inf")
        for offset in _offsets(text.get_window_extent().width * 72 / axes.figure.dpi):
            text.set_position(offset)
            box = text.get_window_extent().padded(2)
            covered = sum(box.overlaps(other) for other in taken)
            covered += not (inside.x0 <= box.x0 and box.x1 <= inside.x1)
            covered += not (inside.y0 <= box.y0 and box.y1 <= inside.y1)
            if covered < least:
                best, least = offset, covered
        text.set_position(best)
        taken.append(text.get_window_extent())


def _offsets(width: float) -> Iterator[tuple[float, float]]:
    """Yields places of a label around its point, in points, the nearest first."""
    for distance in (6, 16, 26, 38, 50):
        for x in (6.0, -6.0 - width):
            yield from ((x, float(distance)), (x, -4.0 - distance))
