import dataclasses

from rnnt_qat.latency.latency_report import LatencyRow, ratio_table
from rnnt_qat.latency.systems import Method


def row(system, method, trained, ms):
    """A row whose every other figure is 1."""
    numbers = {f.name: 1.0 for f in dataclasses.fields(LatencyRow)}
    names = {"test_set": "speech:test", "target": "u55-128", "shape": "16x8", "weight_bits": "4"}
    own = {"system": system, "method": method.value, "trained": trained, "ms_per_second": ms}
    return LatencyRow(**(numbers | names | own))


def test_the_trained_fallback_is_what_systems_are_measured_by_whatever_its_name():
    rows = [
        row("ours", Method.AWARE, True, 2.0),
        row("A trained one (models/a)", Method.FALLBACK, True, 4.0),
        row("not trained", Method.FALLBACK, False, 8.0),
    ]
    ours = next(line for line in ratio_table(rows).splitlines() if "| ours |" in line)
    assert "| 0.50 (" in ours
