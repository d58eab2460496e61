"""A seeded sample of the drill of random integer graphs; in full it is a command of its own."""

import pytest

from benchmarks.drills import integers
from rnnt_qat.artefact.runtime_arithmetic import RuntimeArithmetic


@pytest.mark.slow
def test_random_graphs_of_extreme_scales_are_the_same_integers_everywhere():
    counts = integers.run(cases=8 * len(integers.KINDS), seed=1)
    assert [count for count in counts if count.failures] == []
    assert {count.kind: count.cases for count in counts} == dict.fromkeys(integers.KINDS, 8)


def test_a_difference_is_counted_and_told(monkeypatch):
    add = RuntimeArithmetic.add
    monkeypatch.setattr(RuntimeArithmetic, "add", lambda *args: add(*args) ^ 1)
    (count,) = integers.run(cases=3, seed=0, kinds=["ADD int8"])
    assert (count.cases, count.failures) == (3, 3)
    assert count.first_failure.startswith("case 0: DifferentIntegersError: player and LiteRt: ")
