"""Plots are written, with what they are given."""

import itertools

from matplotlib.figure import Figure

from rnnt_qat.latency.cpu_costs import Sensitivity
from rnnt_qat.latency.latency_plots import ParetoPoint, plot_pareto, plot_sensitivity

PNG = b"\x89PNG\r\n"


def test_plots_are_png_files(tmp_path):
    rows = [Sensitivity("call", 80.0, 140.0), Sensitivity("clock_ratio", 130.0, 95.0)]
    plot_sensitivity(rows, 100.0, tmp_path / "sensitivity.png", reference=70.0)
    points = [
        ParetoPoint("w8", "aware", 20.0, 10.0, (9.0, 11.5)),
        ParetoPoint("w4", "aware", 11.0, 10.5, (9.5, 12.0)),
        ParetoPoint("w8", "post-training", 20.0, 12.0, (10.5, 13.5)),
    ]
    plot_pareto({"u55-128": points, "u85-512": points[:1]}, tmp_path / "pareto.png", floor=9.5)
    for name in ("sensitivity.png", "pareto.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)


def test_labels_are_told_apart_and_cover_nothing(tmp_path, monkeypatch):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kw: (figures.append(self), save(self, *args, **kw))
    )
    points = [
        ParetoPoint(f"W{bits}", group, ms * (1 if bits == 8 else 0.9), wer, (wer - 4, wer + 4))
        for group, ms, wer in (
            ("AAT", 31.0, 29.0),
            ("PTQ", 31.2, 29.4),
            ("CPU fallback", 71.0, 29.2),
        )
        for bits in (8, 4)
    ]
    plot_pareto({"u55-128": points}, tmp_path / "pareto.png", floor=31.0)
    figures[0].canvas.draw()  # saving measured texts at another resolution
    (axes,) = figures[0].axes
    names = [text.get_text() for text in axes.texts]
    assert len(set(names)) == len(names) == len(points)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    frame = axes.get_window_extent()
    assert all(frame.x0 <= b.x0 and b.x1 <= frame.x1 for b in boxes)
    low, high = axes.get_ylim()
    assert low < 25 < 33.4 < high  # the whiskers
    left, right = axes.get_xlim()
    assert left < 0 < 71 < right
