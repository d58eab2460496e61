"""A small seeded sample of the drill of kills, full disks and lost peers, on the toy model."""

import re
import subprocess
import sys

import pytest

from benchmarks.drills.kills import table
from benchmarks.drills.runs import Row


@pytest.mark.slow
def test_runs_end_with_the_same_results_whatever_ends_them():
    """In a process of its own: those that have used JAX cannot fork."""
    command = "-m benchmarks.drills.kills --part=trainer --part=peers --cases=6 --seed=1"
    done = subprocess.run([sys.executable, *command.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"\| (.*) \| (\d+) \| (\d+) \| (\d+) \|", done.stdout)
    assert {name: (int(cases), int(failed)) for name, cases, _, failed in rows} == {
        "kill -9 of the trainer": (6, 0),
        "disk full under the trainer, then room again": (1, 0),
        "a peer that dies": (1, 0),
    }


def test_what_failed_is_counted():
    row = Row("kill -9 of the trainer", 6, 4, {3: "exit code 1"})
    assert table([row]).endswith("| kill -9 of the trainer | 6 | 4 | 1 |")
