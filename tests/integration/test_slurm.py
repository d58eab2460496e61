"""The scripts of ``experiments/clusters`` under a real Slurm, with a tiny program in each."""

import dataclasses
import pathlib
import re
import sys

import pytest

from tests.experiments.forked import ROOT
from tests.integration import ray_on_slurm
from tests.integration.slurm_cluster import SlurmCluster, slurm_cluster, wait_until, why_none
from tests.integration.test_distributed import assert_same_training, finish, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if reason := why_none():
        pytest.skip(reason)
    with slurm_cluster(tmp_path_factory.mktemp("slurm"), nodes=2) as cluster:
        yield cluster


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Submits a script of ``experiments/clusters`` with another program in place of its own."""

    cluster: SlurmCluster
    name: str
    folder: pathlib.Path

    @property
    def log(self) -> pathlib.Path:
        return self.folder / "job.log"

    def said(self) -> str:
        """Returns what the job has printed so far."""
        return self.log.read_text() if self.log.exists() else ""

    def submit(self, program: str, **environment: str) -> str:
        text = (ROOT / "experiments/clusters" / self.name).read_text().replace("\\\n", " ")
        text, programs = re.subn(r"python -m experiments\.[^|\n]*", f"{program} ", text)
        python = pathlib.Path(sys.executable).parent
        text, places = re.subn(r"source \.venv/bin/activate", f"PATH={python}:$PATH", text)
        assert (programs, places) == (1, 1)
        script = self.folder / self.name
        script.write_text(text)
        return self.cluster.submit(
            script,
            *("--nodes=2", f"--chdir={ROOT}", f"--output={self.log}"),
            JAX_PLATFORMS="cpu",
            PYTHONPATH=str(ROOT),
            **environment,
        )


def test_a_training_ends_with_a_dead_task_and_goes_on_after_a_preemption(cluster, tmp_path):
    alone = start(tmp_path / "one")
    recipe = Recipe(cluster, "train.slurm.sh", tmp_path)
    program = f"python -m tests.training.toy {tmp_path}/two --seconds=0.1"
    checkpoints = tmp_path / "two/checkpoints"

    # One of two is killed: the other ends by itself, and the job does not return to the queue.
    dies = '$( ((SLURM_PROCID == 1)) && echo "--signal-at=17 --signal=9" )'
    job = recipe.submit(f"bash -c '{program} {dies}'")
    ended = cluster.wait_for(job)
    assert ended["JobState"] == "FAILED", recipe.said()
    assert ended["ExitCode"] == "137:0"
    assert checkpoints.is_dir()

    # More urgent work comes: the job saves a checkpoint, leaves, and is in the queue again.
    job = recipe.submit(program)
    wait_until(lambda: list(checkpoints.glob("2_aware/3*")))
    cluster("srun", "--partition=urgent", "--nodes=2", "--exclusive", "true")
    assert "by SIGTERM" in recipe.said()
    waits = cluster.wait_for(job)
    assert (waits["JobState"], waits["Restarts"]) == ("PENDING", "1"), recipe.said()
    # Slurm waits two minutes. Within a second the credential of its first run would be revoked.
    cluster("scontrol", "update", f"JobId={job}", "StartTime=now+3")
    ended = cluster.wait_for(job, restarts=1)
    assert ended["JobState"] == "COMPLETED", recipe.said()
    assert "aware: resumed at step" in recipe.said()
    finish(alone)
    assert_same_training(tmp_path / "one", tmp_path / "two")


def test_a_sweep_uses_all_nodes(cluster, tmp_path):
    pytest.importorskip("ray", reason="an extra")
    # As after any use of Ray on one machine: a token that its nodes will ask for.
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("0123456789abcdef" * 4)
    recipe = Recipe(cluster, "sweep.slurm.sh", tmp_path)
    job = recipe.submit(
        f"python -m {ray_on_slurm.__name__} {tmp_path}",
        HOME=str(tmp_path),
        RAY_gcs_rpc_server_reconnect_timeout_s="15",  # how long nodes wait for the first's return
    )
    ended = cluster.wait_for(job)
    assert ended["JobState"] == "COMPLETED", recipe.said()
    found = ray_on_slurm.results(tmp_path)
    assert [result["square"] for result in found] == [0, 1, 4, 9]
    assert {result["node"] for result in found} == {"node1", "node2"}
    halves = {tuple(sorted(result["accelerators"].split(","))) for result in found}
    assert halves == {tuple("0123"), tuple("4567")}
