"""A seeded sample of the drill of hostile inputs."""

import pytest

from benchmarks import reliability


@pytest.mark.slow
def test_a_sample_of_the_drill():
    rows = reliability.run(cases=500, seed=1)
    assert {row.name: row.failures for row in rows} == {row.name: {} for row in rows}
    assert len(rows) == len(reliability.DRILLS)
    for row in rows:
        assert row.taken + row.refused == row.cases >= 5
        # A folder of transcripts is always read; what it leaves out is counted in its report.
        assert row.refused > 0 or row.name == "transcripts"
    assert sum(row.taken for row in rows) > 100
