"""Plots are written, with what they are given."""

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
