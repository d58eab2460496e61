"""That a drill sees what it looks for.

Apart from the drill's sample, because the processes that are lost here import this module anew.
"""

import os
import time

import pytest

from benchmarks.drills import hostile
from data.skips import Cause, SkipError


def _misbehave(rng, folder):
    kind = rng.integers(5)
    if kind == 0:
        raise SkipError(Cause.SILENT, "quiet")
    if kind == 1:
        raise KeyError("a bug")
    if kind == 2:
        raise hostile.TakenSilentlyError("taken")
    if kind == 3:
        os._exit(7)
    if kind == 4:
        time.sleep(3600)


@pytest.mark.slow
def test_the_drill_sees_crashes_hangs_deaths_and_what_is_taken_silently():
    drill = hostile.Drill("misbehaviour", _misbehave, 1.0)
    row = hostile.run(drill, cases=6, seed=52, limit_s=5.0)
    kinds = [int(hostile.case_rng(drill.name, 52, case).integers(5)) for case in range(6)]
    assert set(kinds) == set(range(5))
    expected = {1: "crash: Traceback", 2: "silent: taken", 3: "crash: the process died", 4: "hang:"}
    assert row.refused == kinds.count(0)
    assert row.taken == 0
    for case, kind in enumerate(kinds):
        assert row.failures.get(case, "").startswith(expected.get(kind, ""))
    assert len(row.failures) == 6 - kinds.count(0)
