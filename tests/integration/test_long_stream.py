"""The drill of a day's stream, ten minutes of it."""

import pytest

from benchmarks.drills import long_stream


@pytest.mark.slow
def test_ten_minutes_give_the_tokens_of_the_recording_in_the_memory_of_one():
    rows = list(long_stream.run(hours=1 / 6))
    assert len(rows) == 5
    assert [row.name for row in rows if row.failed] == []
    assert all(row.tokens > 512 for row in rows)
    assert [row.segments > 20 for row in rows] == ["endpoints" in row.name for row in rows]


def test_another_token_or_growing_memory_fails():
    good = long_stream.Result("x", 1.0, 600, 1, True, 3.0, 1.0)
    assert not good.failed
    assert long_stream.Result("x", 1.0, 600, 1, False, 3.0, 1.0).failed
    assert long_stream.Result("x", 1.0, 600, 1, True, 40.0, 1.0).failed
