"""Tasks on a cluster of two nodes on loopback, one of which dies."""

import dataclasses
import io
import json
import os
import pathlib
import re
import socket
import threading
import time

import pytest

from rnnt_qat.infra.console import Console
from rnnt_qat.infra.errors import UserError
from rnnt_qat.studies.engine import InProcess
from rnnt_qat.studies.ray_engine import RayEngine, RayError

pytest.importorskip("ray", reason="an extra")
pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True)
class Resumable:
    """Counts to ``steps`` with a checkpoint each, and notes which processes did so."""

    folder: pathlib.Path
    seed: int
    steps: int = 4
    seconds: float = 0.5
    is_done: bool = False

    @property
    def name(self):
        return f"seed {self.seed}"

    def __call__(self, console):
        console.say("begins")
        checkpoint = self.folder / f"{self.seed}.json"
        state = {"value": self.seed, "steps": [], "processes": []}
        if checkpoint.exists():
            state = json.loads(checkpoint.read_text())
        state["processes"].append(os.getpid())
        for step in range(len(state["steps"]), self.steps):
            time.sleep(self.seconds)
            state["value"] = 31 * state["value"] % 1009
            state["steps"].append(step)
            partial = checkpoint.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(state))
            os.replace(partial, checkpoint)
        console.say(f"counted to {self.steps}")


@dataclasses.dataclass(frozen=True)
class Refused:
    name: str = "refused"
    is_done: bool = False

    def __call__(self, console):
        raise UserError("models/float is missing: train it")


@pytest.fixture(scope="module")
def cluster():
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def results(folder):
    states = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [(s["value"], s["steps"]) for s in states], [len(s["processes"]) for s in states]


def running(folder, steps=4):
    """The number of tasks that have begun and not ended: one for each node, of one core."""
    states = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return sum(len(state["steps"]) < steps for state in states)


def test_a_node_that_dies_costs_nothing_but_time(cluster, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    InProcess().run([Resumable(here, n, seconds=0) for n in range(4)], Console(io.StringIO()))

    second = cluster.add_node(num_cpus=1)
    engine = RayEngine(tmp_path / "logs", address=cluster.address)
    stream = io.StringIO()

    def kill_once_both_work():
        deadline = time.monotonic() + 60
        while running(there) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill_once_both_work)
    killer.start()
    engine.run([Resumable(there, n) for n in range(4)], Console(stream, period_seconds=0.0))
    killer.join()

    expected, attempts = results(here)
    found, attempts_there = results(there)
    assert found == expected
    assert attempts == [1] * 4
    assert sum(attempts_there) == 5, "one task was begun on the dead node and ended on the other"
    lines = stream.getvalue().splitlines()
    assert sum("ETA" in line for line in lines) == 3
    assert "4/4" in lines[-1]
    assert any(re.match(r"[01]/4 in \d+ s; seed \d: begins$", line) for line in lines), lines
    assert (tmp_path / "logs/task_0.log").read_text().endswith("counted to 4\n")

    with pytest.raises(UserError, match="models/float is missing: train it"):
        engine.run([Refused()], Console(stream))
    said = (tmp_path / "logs/task_0.log").read_text().splitlines()[-1]
    assert said == f"on {socket.gethostname()}: UserError: models/float is missing: train it"
    with pytest.raises(RayError, match=r"--ray_cpus=9.*no node has that many"):
        RayEngine(tmp_path / "logs", address=cluster.address, cpus=9)
