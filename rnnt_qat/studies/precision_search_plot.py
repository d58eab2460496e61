"""Plot of a search's candidates, its Pareto front and the uniform policies."""

import pathlib
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rnnt_qat.evaluation.plots import COLOURS, FAINT, INK
from rnnt_qat.studies.precision_candidates import Candidate, pareto_front


def plot_front(candidates: Sequence[Candidate], path: pathlib.Path) -> None:
    """Plots loss against engine time; the lower left is better.

    Args:
      candidates: all candidates of a search.
      path: PNG file to write.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(
        [c.ms_per_second for c in candidates],
        [c.loss for c in candidates],
        ".",
        color=FAINT,
        label="candidates",
    )
    chunks = sorted({c.chunk_frames for c in candidates})
    for colour, chunk in zip(COLOURS, chunks, strict=False):
        front = [c for c in pareto_front(candidates) if c.chunk_frames == chunk]
        label = "front" if len(chunks) == 1 else f"front, {chunk} frames a call"
        axes.plot(
            [c.ms_per_second for c in front],
            [c.loss for c in front],
            "o-",
            color=colour,
            label=label,
        )
    uniform = [c for c in candidates if c.uniform]
    axes.plot(
        [c.ms_per_second for c in uniform],
        [c.loss for c in uniform],
        "s",
        color=INK,
        fillstyle="none",
        label="uniform",
    )
    for c in uniform:
        axes.annotate(
            f"w{next(iter(c.bits.values()))}",
            (c.ms_per_second, c.loss),
            xytext=(5, 5),
            textcoords="offset points",
        )
    axes.set_yscale("log")
    axes.set_xlabel("engine ms per second of audio")
    axes.set_ylabel("loss a label, calibrated")
    axes.legend()
    figure.savefig(path, dpi=120)
