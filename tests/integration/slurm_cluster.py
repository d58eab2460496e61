"""A Slurm cluster of some nodes on this machine (``slurm_cluster.sh``), for ``test_slurm.py``."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

_SCRIPT = pathlib.Path(__file__).with_suffix(".sh")
_PROGRAMS = ("slurmctld", "slurmd", "munged", "ip", "unshare", "nsenter")
_NAMESPACES = ("--mount", "--net", "--uts", "--pid")
_UNSHARE = ("unshare", *_NAMESPACES, "--fork", "--mount-proc", "--kill-child")


def why_none() -> str | None:
    """Returns why this machine cannot have such a cluster, or None."""
    if sys.platform != "linux" or os.getuid():
        return "a Slurm cluster in namespaces needs Linux and root"
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        return f"a Slurm cluster needs {', '.join(missing)} (Debian: slurm-wlm, munge, iproute2)"
    bridge = subprocess.run(
        [*_UNSHARE, "ip", "link", "add", "bridge", "type", "bridge"], capture_output=True, text=True
    )
    return f"no network namespaces here: {bridge.stderr.strip()}" if bridge.returncode else None


class SlurmCluster:
    """A running cluster.

    Args:
      folder: its configuration and logs.
      unshare: the process that holds its namespaces.
    """

    def __init__(self, folder: pathlib.Path, unshare: subprocess.Popen):
        self._folder, self._unshare = folder, unshare

    def __call__(self, *command: str, environment: dict[str, str] | None = None) -> str:
        """Runs a command beside the controller and returns its output.

        Raises:
          CalledProcessError: if the command fails.
        """
        # Its child is the first process in the namespaces.
        children = pathlib.Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        done = subprocess.run(
            [
                "nsenter",
                f"--target={children.read_text().split()[0]}",
                *_NAMESPACES,
                "--",
                *command,
            ],
            env=os.environ | {"SLURM_CONF": str(self._folder / "slurm.conf")} | (environment or {}),
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    def submit(self, script: pathlib.Path, *options: str, **environment: str) -> str:
        """Submits a script; returns the number of its job."""
        return self("sbatch", "--parsable", *options, str(script), environment=environment).strip()

    def job(self, number: str) -> dict[str, str]:
        """Returns what Slurm says of a job, e.g. ``{"JobState": "RUNNING", ...}``."""
        return dict(re.findall(r"(\w+)=(\S+)", self("scontrol", "show", "job", number)))

    def wait_for(self, number: str, restarts: int = 0, timeout_s: float = 300) -> dict[str, str]:
        """Waits until a job has ended or is back in the queue; returns what Slurm says of it then.

        Args:
          number: the job's.
          restarts: how many times it has been back before.
          timeout_s: time in seconds after which that is an error.
        """

        def is_over() -> bool:
            job = self.job(number)
            waits = job["JobState"] == "PENDING" and int(job["Restarts"]) > restarts
            return waits or job["JobState"] in ("COMPLETED", "FAILED", "CANCELLED")

        wait_until(is_over, timeout_s)
        return self.job(number)


def wait_until(condition: Callable[[], bool], timeout_s: float = 120) -> None:
    """Returns once a condition is true.

    Raises:
      TimeoutError: if that takes too long.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {timeout_s:g} s")
        time.sleep(0.1)


@contextlib.contextmanager
def slurm_cluster(folder: pathlib.Path, nodes: int) -> Iterator[SlurmCluster]:
    """Starts a cluster; ends all of its processes at the end.

    Args:
      folder: takes its configuration and logs.
      nodes: number of nodes, called node1 and so on, each with 32 cores and 8 accelerators by name.
    """
    with (folder / "cluster.log").open("w") as log:
        unshare = subprocess.Popen(
            [*_UNSHARE, "bash", str(_SCRIPT), str(folder), str(nodes)], stdout=log, stderr=log
        )
    cluster = SlurmCluster(folder, unshare)

    def is_idle() -> bool:
        assert unshare.poll() is None, (folder / "cluster.log").read_text()
        with contextlib.suppress(subprocess.CalledProcessError, IndexError):
            found = cluster("sinfo", "--noheader", "--partition=main", "--format=%D %t")
            return found.split() == [str(nodes), "idle"]
        return False

    try:
        wait_until(is_idle)
        yield cluster
    finally:
        unshare.kill()
        unshare.wait()
