"""The command for accelerators, tried on the CPU at small sizes."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.accelerator_plan import Case, cases, failed, run, table


def test_a_case_that_fails_or_does_not_fit_is_listed(tmp_path):
    broken = run(Case(("nonsense",)), tmp_path, tiny=True, seconds=60)
    assert broken[0]["problem"] == "failed, exit code 1"
    assert "KeyError: 'nonsense'" in (tmp_path / "logs/nonsense.txt").read_text()
    late = run(Case(("matmul",)), tmp_path, tiny=True, seconds=1)
    assert late == [{"case": "matmul", "skipped": "no time left"}]
    assert failed(broken)
    assert not failed(late)
    assert failed([{"case": "integers compare", "differ": 1}])
    assert not failed([{"case": "integers compare", "differ": 0}])


def test_a_table_a_section():
    rows = [{"case": "a x", "ms": 1.23456}, {"case": "b", "ms": 2}, {"case": "a y", "mb": 3}]
    assert table(rows).splitlines()[:5] == [
        "## a",
        "",
        "| case | ms | mb |",
        "|---|---|---|",
        "| a x | 1.235 |  |",
    ]


def test_every_section_is_tried_and_the_whole_fits_a_card():
    assert {case.name[0] for case in cases(True)} == {
        case.name[0] for case in cases(False) if case.name[0] != "peer"
    }
    names = [case.name for case in cases(False)]
    assert len(set(names)) == len(names)
    assert names[:2] == [("integers", "write"), ("integers", "compare")]


@pytest.mark.slow
def test_the_command_runs_here(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.accelerator", "--tiny", f"--output={tmp_path}"],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {row["case"].split()[0] for row in rows} == {case.name[0] for case in cases(True)}
    compared = [row["differ"] for row in rows if "differ" in row]
    assert len(compared) >= 9
    assert not any(compared)
    assert all(row["ms"] > 0 for row in rows if "ms" in row)
