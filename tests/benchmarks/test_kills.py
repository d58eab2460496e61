"""A small seeded sample of the drill of kills, full disks and rivals."""

import pytest

from benchmarks.drills.kills import run, table


@pytest.mark.slow
def test_runs_end_with_the_same_model_whatever_ends_them():
    rows = run(cases=5, seed=1)
    assert [(row.name, row.failures) for row in rows] == [(row.name, {}) for row in rows]
    assert sum(row.cases for row in rows) >= 9
    assert "| kill -9, then the same command again | 5 |" in table(rows)
