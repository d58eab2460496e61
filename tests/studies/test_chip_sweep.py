"""From a sweep's measurements to the report of a chip."""

import dataclasses
import io
import pathlib
import types

from rnnt_qat.experiment.config import Split
from rnnt_qat.infra.console import Console
from rnnt_qat.latency.targets import U55_128
from rnnt_qat.metrics.latency import RealTimeFactor
from rnnt_qat.studies import chip_sweep
from rnnt_qat.studies.cells import Measurement
from rnnt_qat.studies.chip_comparison import ChipComparison
from rnnt_qat.studies.comparison import name_with_beam
from rnnt_qat.studies.sweep import System
from tests.studies.test_sweep import REFERENCES, result

FLOAT, CHIP = System("float32", "float", 4000), System("ethos_u_8x8_16", "aware", 1000)


def timed(system, factor):
    found = result(system, REFERENCES)
    speed = RealTimeFactor(factor, factor, factor, 1.0, 3)
    return dataclasses.replace(found, test_set="set:test", real_time_factor=speed)


def test_the_report_has_both_searches_and_what_they_cost(tmp_path, monkeypatch):
    recognizer = types.SimpleNamespace(variables={"params": {}})
    monkeypatch.setattr(chip_sweep.Recognizer, "load", lambda path: recognizer)

    def compare_on_chips(systems, config, data_dir, output, console, results):
        output.mkdir()
        return ChipComparison(list(results), {}, [], {})

    monkeypatch.setattr(chip_sweep, "compare_on_chips", compare_on_chips)
    measured = [Measurement(s, (timed(s.name, 0.01),)) for s in (FLOAT, CHIP)]
    wider = timed(name_with_beam(CHIP.name, 4), 0.07)
    elsewhere = dataclasses.replace(wider, chunk_ms=80.0, system="at another chunk")
    report, exact = chip_sweep.deploy_sweep(
        measured,
        pathlib.Path("model"),
        tmp_path,
        [Split("set", "test")],
        [U55_128],
        tmp_path,
        tmp_path / "chip",
        Console(io.StringIO()),
        "command",
        [wider, elsewhere],
    )
    assert exact
    headline = report.read_text().split("\n\n")[2].splitlines()
    assert headline[0].endswith("| real-time factor |")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in headline[2:]]
    assert [(row[1], row[-1]) for row in cells] == [
        ("(a) float32", "0.01"),
        ("(d) ethos_u_8x8_16, trained", "0.01"),
        ("(d) ethos_u_8x8_16, trained, beam of 4", "0.07"),
    ]
