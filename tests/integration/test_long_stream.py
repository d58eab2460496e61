"""The drill of a day's stream, ten minutes of it."""

import dataclasses

import pytest

from benchmarks.drills import long_stream


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.exhaustive) if name.endswith("greedy") else name
        for name in long_stream.ROWS
    ],
)
def test_ten_minutes_give_the_tokens_of_the_recording_in_the_memory_of_one(name):
    (row,) = long_stream.run(hours=1 / 6, rows=[name])
    assert not row.failed
    assert row.tokens > 512
    assert (row.segments > 20) == ("endpoints" in name)


def test_another_token_growing_memory_or_silence_at_the_end_fails():
    good = long_stream.Result("x", 1.0, 600, 1, True, 3.0, 60, 1.0)
    assert not good.failed
    assert dataclasses.replace(good, equal=False).failed
    assert dataclasses.replace(good, growth_mib=40.0).failed
    assert dataclasses.replace(good, last_tokens=19).failed
    assert dataclasses.replace(good, tokens=0, last_tokens=0).failed
