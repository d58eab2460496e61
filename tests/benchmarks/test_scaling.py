"""Bytes read from programs, and the arithmetic of the model of a step."""

import json

import pytest

from benchmarks.scaling_model import Machine, Recipe, audio_s_per_s, collective_bytes

PROGRAM = """
  %all-reduce.1 = f32[1000,2]{1,0} all-reduce(%x), channel_id=1
  %ag = (bf16[8]{0}, s8[3,5]{1,0}) all-gather(%a, %b), dimensions={0}
  %ars = f32[10]{0} all-reduce-start(%y), channel_id=2
  %done = f32[10]{0} all-reduce-done(%ars)
  %scalar = pred[] all-reduce(%z)
  %fusion = f32[99]{0} fusion(%all-reduce.1), kind=kLoop
"""


def test_bytes_of_collectives():
    assert collective_bytes(PROGRAM) == {"all-reduce": 8000 + 40 + 1, "all-gather": 16 + 15}


def test_an_all_reduce_is_a_ring_within_and_a_ring_across():
    machine = Machine(node=8, inside=100.0, across=10.0, latency_s=0.5)
    assert machine.all_reduce_s(400.0, 1) == 0
    assert machine.all_reduce_s(400.0, 4) == pytest.approx(6 / 4 * 400 / 100 + 6 * 0.5)
    across = 2 / 2 * (400 / 8) / 10 + 2 * 0.5
    assert machine.all_reduce_s(400.0, 16) == pytest.approx(14 / 8 * 4 + 14 * 0.5 + across)


def test_scaling_stops_where_the_recurrence_does():
    machine = Machine(node=8, inside=1e12, across=1e12, latency_s=0.0)
    recipe = Recipe(1000.0, 10.0, audio_s_per_s=100.0, floor_s=1.0, gradient_bytes=1.0)
    assert recipe.step_s(1, machine) == pytest.approx(10.0)
    assert recipe.step_s(10, machine) == pytest.approx(1.0)
    assert recipe.step_s(100, machine) == pytest.approx(1.0)  # a row a chip, but no faster
    assert recipe.efficiency(10, machine) == pytest.approx(1.0)
    assert recipe.efficiency(100, machine) == pytest.approx(0.1)


def test_the_measured_speed_is_that_of_the_model_and_policy(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"case": "matmul", "ms": 1.0}, {"case": "step 45M w8a8", "audio_s_per_s": 7.0}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert audio_s_per_s(path, "45M", "w8a8") == 7.0
    with pytest.raises(ValueError, match="no figures of 'step 45M float32'"):
        audio_s_per_s(path, "45M", "float32")
