"""Plots of training runs and evaluation results, as PNG files."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from rnnt_qat.evaluation.report import by_test_set
from rnnt_qat.evaluation.result import EvaluationResult, UtteranceResult
from rnnt_qat.frontend.log_mel import LogMelConfig, log_mel, mel_filterbank
from rnnt_qat.typing import Float

INK, FAINT = "#222222", "#9a9a9a"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Wong's palette for colour-blind readers (Nature Methods 2011)."""

_MARKERS = "osD^vPX"  # one more than the colours, so that the pairs repeat after 42 curves

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


_PERCENT = FuncFormatter(lambda x, _: f"{round(100 * x, 6):g} %")


def plot_training_curves(path: str | Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Plots the training loss and each test set's word error rate with its interval by step.

    Args:
      path: PNG file to write.
      records: records of ``metrics.jsonl``: ``{"step": int, "stage": str, "loss": float}`` of
        training and ``{"step": int, "stage": str, "<test set>/wer": float, ...}`` of evaluation.

    Raises:
      ValueError: if no record has a loss or a word error rate.
    """
    losses = [(r["step"], r["loss"]) for r in records if "loss" in r]
    curves: dict[str, list] = defaultdict(list)
    for r in records:
        for name in r:
            if name.endswith("/wer"):
                bounds = (r.get(f"{name}_{end}", r[name]) for end in ("low", "high"))
                curves[name.removesuffix("/wer")].append((r["step"], r[name], *bounds))
    if not losses and not curves:
        raise ValueError("nothing to plot: no record has a `loss` or a `<test set>/wer`")

    with matplotlib.rc_context(_STYLE):
        panels = bool(losses) + bool(curves)
        figure = Figure(figsize=(7, 2.5 * panels), layout="constrained")
        axes = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
        if losses:
            _loss_panel(axes[0], losses)
        if curves:
            _error_panel(axes[-1], curves)
        for panel in axes:
            panel.grid(axis="y", color="#eeeeee")
        axes[-1].set_xlabel("step")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        _mark_stages(figure.axes, records)
        figure.savefig(path, dpi=150)


def _loss_panel(axes: Axes, losses: Sequence[tuple[int, float]]) -> None:
    steps, values = np.array(losses).T
    axes.plot(steps, values, color=COLOURS[0], linewidth=0.6, alpha=0.35)
    axes.plot(steps, _smooth(values), color=COLOURS[0], linewidth=1.6)
    if values.max() > 10 * values.min() > 0:  # else few of a logarithmic axis' labels are in sight
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.yaxis.set_minor_locator(LogLocator(subs=()))
    axes.margins(y=0.1)
    axes.set_title("Training loss (nats an utterance)")


def _error_panel(axes: Axes, curves: Mapping[str, list]) -> None:
    for colour, marker, (name, points) in zip(
        itertools.cycle(COLOURS), itertools.cycle(_MARKERS), curves.items(), strict=False
    ):
        steps, wer, low, high = np.array(points).T
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        label = f"{name}: {100 * wer[-1]:.1f} % at the end"
        axes.plot(steps, wer, color=colour, marker=marker, markersize=3, linewidth=1.6, label=label)
    axes.set_title("Word error rate (band: bootstrap interval)")
    axes.yaxis.set_major_formatter(_PERCENT)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=True, edgecolor="none", framealpha=0.9)


def plot_emissions(
    path: str | Path,
    audio: Float[np.ndarray, "N"],
    config: LogMelConfig,
    result: EvaluationResult,
    utterance: UtteranceResult,
) -> None:
    """Plots an utterance's log-mel spectrogram with its tokens at their emission times.

    Args:
      path: PNG file to write.
      audio: the utterance's samples in [-1, 1), ``[N]``.
      config: config of the log-mel spectrogram.
      result: result that contains the utterance; its chunk boundaries are marked.
      utterance: one of ``result.utterances``.
    """
    samples = jnp.pad(jnp.asarray(audio, jnp.float32), (0, -len(audio) % config.hop))
    spectrogram, _ = log_mel(samples[None], jnp.zeros((1, config.history)), config)
    frames = np.asarray(spectrogram[0])  # [T, F]
    seconds = len(audio) / config.sample_rate_hz
    columns: dict[float, list[str]] = defaultdict(list)
    for piece, time_ms in zip(utterance.pieces, result.token_times_ms(utterance), strict=True):
        columns[time_ms / 1000].append(piece.replace(" ", "\N{OPEN BOX}"))
    tallest = max((len(pieces) for pieces in columns.values()), default=1)

    with matplotlib.rc_context(_STYLE):
        strip = 0.3 + 0.17 * tallest
        figure = Figure(figsize=(np.clip(2.5 * seconds, 6, 24), strip + 3.0), layout="constrained")
        tokens, mel = figure.subplots(2, 1, sharex=True, height_ratios=(strip, 2.6))
        floor = np.percentile(frames, 5)
        mel.imshow(
            frames.T,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=floor,
            extent=(0, len(frames) * config.hop_ms / 1000, 0, config.num_mel_bins),
            interpolation="nearest",
        )
        weights = mel_filterbank(config)  # [bins, F]
        hz = np.arange(len(weights)) * config.sample_rate_hz / config.fft_size
        centres = hz @ weights / weights.sum(axis=0)
        ticks = [hz for hz in (250, 500, 1000, 2000, 4000) if centres[0] < hz < centres[-1]]
        mel.set_yticks(
            np.interp(ticks, centres, np.arange(config.num_mel_bins) + 0.5),
            [f"{hz / 1000:g}" for hz in ticks],
        )
        mel.set_ylabel("kHz (mel scale)")
        mel.set_xlim(0, seconds + 0.02)
        label = "seconds of audio processed"
        if result.chunk_ms is not None:
            label += f" (dotted: chunks of {result.chunk_ms:g} ms)"
            for boundary in np.arange(result.chunk_ms, 1000 * seconds, result.chunk_ms) / 1000:
                mel.axvline(boundary, color="white", linewidth=0.5, alpha=0.4, linestyle=":")
        mel.set_xlabel(label)
        for time, pieces in columns.items():
            mel.axvline(time, color="white", linewidth=0.8, alpha=0.8)
            tokens.axvline(time, color=FAINT, linewidth=0.5, zorder=0)
            for i, piece in enumerate(pieces):
                tokens.text(
                    *(time, tallest - 1 - i), piece, ha="center", va="center",
                    fontsize=8, family="monospace",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
                )  # fmt: skip
        tokens.set_ylim(-0.6, tallest - 0.4)
        tokens.yaxis.set_visible(False)
        tokens.tick_params(axis="x", length=0, labelbottom=False)
        for side in ("left", "bottom"):
            tokens.spines[side].set_visible(False)
        tokens.set_title(
            f"said: {utterance.reference}\nheard: {utterance.hypothesis}", wrap=True, fontsize=9
        )
        figure.savefig(path, dpi=150)


def plot_wer_bars(path: str | Path, results: Sequence[EvaluationResult]) -> None:
    """Plots word error rates by test set: one bar per result, divided into kinds of error.

    Args:
      path: PNG file to write.
      results: results of any systems on any test sets.
    """
    groups = by_test_set(results)
    with matplotlib.rc_context(_STYLE):
        height = 0.9 + sum(0.55 + 0.34 * len(group) for group in groups.values())
        figure = Figure(figsize=(7, height), layout="constrained")
        panels = figure.subplots(
            len(groups), 1, sharex=True, squeeze=False,
            height_ratios=[0.8 + len(group) for group in groups.values()],
        )[:, 0]  # fmt: skip
        for axes, (test_set, group) in zip(panels, groups.items(), strict=True):
            _wer_panel(axes, group)
            axes.set_title(f"{test_set} ({group[0].words.reference_length} words)")
        panels[-1].set_xlabel("word error rate")
        # Leave room for the longest error bar and its label in every panel.
        panels[-1].set_xlim(0, 1.15 * max(0.01, *(result.wer.high for result in results)))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3)
        figure.savefig(path, dpi=150)


def plot_heat_map(
    path: str | Path,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Float[np.ndarray, "R C"],
    texts: Sequence[Sequence[str]],
    title: str,
) -> None:
    """Plots a table with coloured cells: 0 is white, 1 is dark, NaN is blank.

    Args:
      path: PNG file to write.
      rows: row names, from top to bottom.
      columns: column names, from left to right.
      values: values in [0, 1] or NaN, ``[R, C]``.
      texts: text of each cell, by row.
      title: title of the plot.
    """
    with matplotlib.rc_context(_STYLE | {"font.size": 7}):
        size = (3.0 + 0.8 * len(columns), 0.8 + 0.17 * len(rows))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.imshow(values, cmap="OrRd", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows, family="monospace")
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.spines[:].set_visible(False)
        for row, cells in enumerate(texts):
            for column, text in enumerate(cells):
                dark = values[row, column] > 0.6
                axes.text(
                    column, row, text, ha="center", va="center", color="white" if dark else INK
                )
        axes.set_title(title)
        figure.savefig(path, dpi=150)


def _wer_panel(axes: Axes, group: Sequence[EvaluationResult]) -> None:
    several_chunks = len({result.chunk_ms for result in group}) > 1
    for i, result in enumerate(group):
        words, left = result.words, 0.0
        for colour, kind in zip(
            COLOURS, ("substitutions", "deletions", "insertions"), strict=False
        ):
            share = getattr(words, kind) / words.reference_length
            axes.barh(
                i, share, left=left, height=0.62, color=colour, label=kind if i == 0 else None
            )
            left += share
        wer = result.wer
        spread = [[max(0.0, wer.value - wer.low)], [max(0.0, wer.high - wer.value)]]
        axes.errorbar(wer.value, i, xerr=spread, color=INK, capsize=3, linewidth=1.2)
        axes.annotate(
            f"{100 * wer.value:.1f} %", (wer.high, i), xytext=(5, 0), textcoords="offset points",
            va="center", fontweight="bold",
        )  # fmt: skip
    axes.set_yticks(
        range(len(group)),
        [
            result.system
            + (f", {result.chunk_ms:g} ms" if several_chunks and result.chunk_ms else "")
            + (", whole" if several_chunks and not result.chunk_ms else "")
            for result in group
        ],
    )
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(_PERCENT)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def _smooth(values: Float[np.ndarray, "S"]) -> Float[np.ndarray, "S"]:
    """Returns moving averages over centred windows of a fiftieth of the curve's length."""
    half = max(1, len(values) // 100)
    padded = np.pad(values, half, mode="edge")
    return np.convolve(padded, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid")


def _mark_stages(panels: Sequence[Axes], records: Sequence[Mapping[str, Any]]) -> None:
    """Draws a line at the start of each training stage but the first, and the stages' names.

    A stage starts at the last step of the previous one, which is always recorded.
    """
    starts: dict[str, int] = {}
    before = 0
    for record in records:
        if "stage" in record:
            starts.setdefault(record["stage"], before)
            before = record["step"]
    if len(starts) < 2:
        return
    first, *others = starts.items()
    for _, step in others:
        for axes in panels:
            axes.axvline(step, color=FAINT, linewidth=0.8, linestyle="--")
    names = [first[0], *(f"{stage} from {step}" for stage, step in others)]
    panels[0].set_title(", ".join(names), loc="right", color=FAINT, fontsize=9)
