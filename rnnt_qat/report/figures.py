"""Figures of a report, as Plotly's JSON: a list of traces and a layout.

Colours are told apart by colour-blind readers, and systems by marker and name too, so that a
figure can be printed in grey.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.report.breakdown import Class
from rnnt_qat.report.stored_run import Curves

Figure = dict[str, Any]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Wong's palette for colour-blind readers (Nature Methods 2011)."""
# One more than the colours, so that the pairs do not repeat with the seventh system.
_MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star")
_AXIS = {"gridcolor": "#e6e6e6", "zeroline": False, "linecolor": "#9a9a9a", "automargin": True}


def curve_figures(curves: Mapping[str, Curves]) -> dict[str, Figure]:
    """Returns figures of loss, error rates, saturation and throughput by step.

    Args:
      curves: records of training runs, by name.

    Returns:
      Figures by title, only of what was recorded.
    """
    figures: dict[str, Figure] = {}
    loss = [
        _line(_titled(name, len(curves)), run.metrics, "loss", i, marks=len(run.metrics) < 30)
        for i, (name, run) in enumerate(curves.items())
    ]
    _put(figures, "Training loss (nats an utterance)", loss, "step", "nats", log=True)
    wers, saturation, rates = [], [], []
    for run_index, (run, records) in enumerate(curves.items()):
        names = dict.fromkeys(k for r in records.metrics for k in r)
        for i, name in enumerate(n for n in names if n.endswith("/wer")):
            title = _titled(run, len(curves), name.removesuffix("/wer"))
            wers += _band(title, records.metrics, name, run_index + i)
        ranked = sorted(
            (n for n in names if n.endswith("/saturation_rate")),
            key=lambda n: -max(r.get(n, 0.0) for r in records.metrics),
        )
        for i, name in enumerate(ranked[:6]):
            title = name.removeprefix("diagnostics/").removesuffix("/saturation_rate")
            title = _titled(run, len(curves), title)
            saturation.append(_line(title, records.metrics, name, i, 100, marks=True))
        rates.append(
            _line(
                _titled(run, len(curves)),
                records.throughput,
                "audio_hours_per_hour",
                run_index,
                marks=True,
            )
        )
    _put(figures, "Validation word error rate (band: interval)", wers, "step", "%")
    _put(figures, "Saturated values (the six worst operators)", saturation, "step", "%")
    _put(figures, "Throughput (seconds of audio a second of training)", rates, "step", "s / s")
    for figure in figures.values():
        figure["layout"]["shapes"] = _stages(curves)
    return figures


def wer_figure(results: Sequence[EvaluationResult], names: Sequence[str]) -> Figure:
    """Returns word error rates of one test set with their intervals and kinds of error.

    Args:
      results: results of one test set.
      names: names of the systems.
    """
    names = short_names(names)
    traces: list[dict[str, Any]] = []
    for kind, colour in zip(("substitutions", "deletions", "insertions"), COLOURS, strict=False):
        rates = [
            100 * getattr(result.words, kind) / result.words.reference_length for result in results
        ]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": kind,
                "x": rates,
                "y": list(names),
                "marker": {"color": colour},
                "hovertemplate": "%{y}<br>" + kind + " %{x:.2f} %<extra></extra>",
            }
        )
    wer = [result.wer for result in results]
    traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "95 % interval",
            "x": [100 * w.value for w in wer],
            "y": list(names),
            "marker": {"color": "#222", "size": 5},
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [100 * (w.high - w.value) for w in wer],
                "arrayminus": [100 * (w.value - w.low) for w in wer],
                "color": "#222",
            },
            "hovertemplate": "%{y}<br>WER %{x:.2f} %<extra></extra>",
        }
    )
    layout = _layout("word error rate, %", "", height=75 + 34 * len(results))
    layout |= {"barmode": "stack"}
    layout["yaxis"] |= {"autorange": "reversed"}
    layout["xaxis"] |= {"rangemode": "tozero"}
    return {"data": traces, "layout": layout}


def difference_figure(rows: Sequence[tuple[str, float, float, float]]) -> Figure:
    """Returns paired differences to the baseline with their intervals.

    Args:
      rows: name, difference, low and high end of its interval, in points.
    """
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [value for _, value, _, _ in rows],
        "y": short_names([name for name, *_ in rows]),
        "marker": {"color": COLOURS[0], "size": 9},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - value for _, value, _, high in rows],
            "arrayminus": [value - low for _, value, low, _ in rows],
        },
        "customdata": [[low, high] for _, _, low, high in rows],
        "hovertemplate": "%{y}<br>%{x:+.2f} points [%{customdata[0]:+.2f}, %{customdata[1]:+.2f}]"
        "<extra></extra>",
    }
    layout = _layout("WER - baseline, points (paired, 95 %)", "", height=75 + 34 * len(rows))
    layout["yaxis"] |= {"autorange": "reversed"}
    layout["shapes"] = [
        {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1,
         "line": {"color": "#222", "width": 1, "dash": "dot"}}
    ]  # fmt: skip
    return {"data": [trace], "layout": layout}


def pareto_figure(
    points: Sequence[tuple[str, float, float, float, float]],
    x_title: str,
    signs: Sequence[tuple[int, bool]] = (),
) -> Figure:
    """Returns word error rate against a cost, with the Pareto front of the systems.

    Args:
      points: name, cost, and in % the error rate and the ends of its interval.
      x_title: title of the cost with its unit.
      signs: number of each point's colour and marker, and whether the marker is filled; by default
        points are numbered and filled.
    """
    signs = signs or [(number, True) for number in range(len(points))]
    traces: list[dict[str, Any]] = []
    front, best = [], math.inf
    for point in sorted(points, key=lambda p: (p[1], p[2])):
        if point[2] < best:
            front.append(point)
            best = point[2]
    traces.append(
        {
            "type": "scatter", "mode": "lines", "x": [p[1] for p in front],
            "y": [p[2] for p in front], "line": {"color": "#9a9a9a", "dash": "dot", "shape": "hv"},
            "name": "Pareto front", "hoverinfo": "skip",
        }
    )  # fmt: skip
    for (name, x, y, low, high), (number, filled) in zip(points, signs, strict=True):
        marker = _MARKERS[number % len(_MARKERS)] + ("" if filled else "-open")
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [x],
                "y": [y],
                "marker": {
                    "color": COLOURS[number % len(COLOURS)], "symbol": marker, "size": 10,
                },
                "error_y": {
                    "type": "data", "symmetric": False, "array": [high - y],
                    "arrayminus": [y - low], "thickness": 1, "width": 5,
                },
                "hovertemplate": f"{name}<br>%{{x:,.3f}} {x_title}<br>WER %{{y:.2f}} %"
                f" [{low:.2f}, {high:.2f}]<extra></extra>",
            }
        )  # fmt: skip
    layout = _layout(x_title, "word error rate, %", height=380)
    layout["xaxis"] |= {"tickformat": ",", "rangemode": "tozero"}
    return {"data": traces, "layout": layout}


def class_figure(systems: Mapping[str, Sequence[Class]], title: str) -> Figure:
    """Returns word error rates of classes of utterances as one group of bars per class.

    Args:
      systems: classes of one test set, by system.
      title: what the classes are.
    """
    traces = []
    for (name, classes), colour in zip(systems.items(), itertools.cycle(COLOURS), strict=False):
        shown = [c for c in classes if c.words.reference_length][:40]
        traces.append(
            {
                "type": "bar",
                "name": name,
                "x": [c.name for c in shown],
                "y": [100 * c.words.rate for c in shown],
                "customdata": [[c.utterances, c.words.reference_length] for c in shown],
                "marker": {"color": colour},
                "hovertemplate": f"%{{x}}<br>{name}<br>WER %{{y:.1f}} %, %{{customdata[0]}} "
                "utterances, %{customdata[1]} words<extra></extra>",
            }
        )
    layout = _layout(title, "word error rate, %", height=300)
    layout["xaxis"] |= {"type": "category"}
    layout["yaxis"] |= {"rangemode": "tozero"}
    return {"data": traces, "layout": layout | {"barmode": "group"}}


def heat_map_figure(diagnosis: Mapping[str, Any]) -> Figure:
    """Returns a heat map of a stored diagnosis: one row per operator; dark is bad.

    Args:
      diagnosis: record of ``diagnosis-<system>.json``.
    """
    rows = diagnosis["rows"]
    columns = ["saturated, %", "clipped, %", "table ends, %", "headroom, bits", "raised, bits"]
    columns.append("SQNR, dB")
    texts = [_diagnosis_texts(row) for row in rows]
    trace = {
        "type": "heatmap",
        "x": columns,
        "y": _aligned([(row["layer"], row["tensor"], row["operator"]) for row in rows]),
        "z": [row["badness"] for row in rows],
        "text": texts,
        "texttemplate": "%{text}",
        "textfont": {"size": 10},
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "#ffffff"], [0.5, "#fdbb84"], [1, "#b30000"]],
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": "%{y}<br>%{x}: %{text}<extra>click: histogram</extra>",
    }
    layout = _layout("", "", height=50 + 19 * len(rows))
    plain = {"showgrid": False, "showline": False, "ticks": ""}
    layout["yaxis"] |= plain | {"autorange": "reversed"}
    layout["yaxis"]["tickfont"] = {"family": "monospace", "size": 11}
    layout["xaxis"] |= plain | {"side": "top"}
    layout["plot_bgcolor"] = "#f2f2f2"  # what does not apply
    layout["margin"] |= {"t": 30, "b": 8}
    return {"data": [trace], "layout": layout}


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Joins the cells of each row, padded so that a monospaced font aligns them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "".join(f"{cell:{width}}  " for cell, width in zip(row, widths, strict=True)).replace(
            " ", "\N{NO-BREAK SPACE}"
        )
        for row in rows
    ]


def _diagnosis_texts(row: Mapping[str, Any]) -> list[str]:
    rates = ("saturation_rate", "clip_rate", "table_end_rate")
    texts = [
        "" if not row[name] else "< 0.01" if row[name] < 1e-4 else f"{100 * row[name]:.2g}"
        for name in rates
    ]
    headroom, raised, sqnr = row["headroom_bits"], row["raised_bits"], row["sqnr_db"]
    texts.append("" if headroom is None else f"{headroom:.1f}")
    texts.append(f"{raised:.1f}" if raised else "")
    texts.append("exact" if sqnr is None else f"{sqnr:.0f}")
    return texts


def short_names(names: Sequence[str], longest: int = 34) -> list[str]:
    """Shortens names for axes to their ends, unless two of them would become the same."""
    short = [n if len(n) <= longest else f"\u2026{n[1 - longest :]}" for n in names]
    return short if len(set(short)) == len(set(names)) else list(names)


def _titled(run: str, runs: int, name: str = "") -> str:
    return f"{run}: {name}".rstrip(": ") if runs > 1 or not name else name


def _line(
    title: str,
    records: Iterable[Mapping[str, Any]],
    name: str,
    colour: int,
    factor: float = 1.0,
    marks: bool = False,
) -> dict[str, Any]:
    found = [(r["step"], factor * r[name], r["stage"]) for r in records if name in r]
    return {
        "type": "scatter",
        "mode": "lines+markers" if marks else "lines",
        "name": title,
        "x": [step for step, _, _ in found],
        "y": [value for _, value, _ in found],
        "text": [stage for _, _, stage in found],
        "line": {"color": COLOURS[colour % len(COLOURS)], "width": 1.5},
        "marker": {"symbol": _MARKERS[colour % len(_MARKERS)], "size": 6},
        "hovertemplate": f"{title}<br>step %{{x}}, %{{text}}: %{{y:.4g}}<extra></extra>",
    }


def _band(
    title: str, records: Sequence[Mapping[str, Any]], name: str, colour: int
) -> list[dict[str, Any]]:
    """Returns a curve with its interval as a band around it."""
    found = [r for r in records if name in r]
    steps = [r["step"] for r in found]
    low = [100 * r.get(f"{name}_low", r[name]) for r in found]
    high = [100 * r.get(f"{name}_high", r[name]) for r in found]
    band = {
        "type": "scatter",
        "x": steps + steps[::-1],
        "y": high + low[::-1],
        "fill": "toself",
        "fillcolor": COLOURS[colour % len(COLOURS)],
        "opacity": 0.15,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    return [band, _line(title, records, name, colour, 100, marks=True)]


def _put(
    figures: dict[str, Figure],
    title: str,
    traces: Sequence[dict[str, Any]],
    x_title: str,
    y_title: str,
    log: bool = False,
) -> None:
    traces = [trace for trace in traces if trace["x"]]
    if traces:
        layout = _layout(x_title, y_title, height=300)
        values = [y for trace in traces for y in trace["y"]]
        if log and min(values) > 0 and max(values) / min(values) > 4:
            layout["yaxis"] |= {"type": "log", "dtick": "D2"}
        figures[title] = {"data": list(traces), "layout": layout}


def _stages(curves: Mapping[str, Curves]) -> list[dict[str, Any]]:
    """Returns lines at the starts of stages, if there is only one run."""
    if len(curves) != 1:
        return []
    starts: dict[str, int] = {}
    before = 0
    for record in next(iter(curves.values())).metrics:
        starts.setdefault(record["stage"], before)
        before = record["step"]
    return [
        {
            "type": "line", "x0": step, "x1": step, "yref": "paper", "y0": 0, "y1": 1,
            "line": {"color": "#9a9a9a", "dash": "dash", "width": 1},
            "label": {"text": stage, "textposition": "top left", "font": {"size": 10}},
        }
        for stage, step in list(starts.items())[1:]
    ]  # fmt: skip


def _layout(x_title: str, y_title: str, height: int) -> dict[str, Any]:
    return {
        "xaxis": _AXIS | {"title": {"text": x_title}},
        "yaxis": _AXIS | {"title": {"text": y_title}},
        "height": height,
        "margin": {"l": 55, "r": 40, "t": 14, "b": 45},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#222"},
        "showlegend": False,  # the page has legends of its own
        "modebar": {"orientation": "v", "bgcolor": "rgba(0,0,0,0)", "color": "#9a9a9a"},
        "hoverlabel": {"align": "left"},
    }
