"""Tasks of a study on a Ray cluster, or on the cores of this machine.

A task is sent to any node with the declared cores and accelerators free. Its files must lie in a
folder that all nodes see under one path, and the package must be importable there. A task whose
worker or node dies is sent elsewhere, where it continues from its last checkpoint.
"""

import logging
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnnt_qat.infra.console import Console
from rnnt_qat.infra.errors import UserError
from rnnt_qat.missing_packages import install_extra
from rnnt_qat.studies.engine import Task, TaskProgress

_PACKAGE_ROOT = pathlib.Path(__file__).parents[2]


_LOOKS_EVERY_S = 1.0


class RayError(UserError):
    """A cluster that cannot be used, or that lost a task for good."""


class RayEngine:
    """Runs tasks on a Ray cluster.

    Args:
      log_dir: folder of the tasks' progress lines, one file a task; seen by all nodes.
      address: address of the cluster, ``auto`` for the one that this machine belongs to; None
        starts one on this machine.
      cpus: cores that a task occupies.
      gpus: accelerators that a task occupies.
      retries: number of times that a task is sent elsewhere after its worker died.
      setup: function called once in each worker before its first task.

    Raises:
      RayError: if Ray is not installed, or no cluster answers at the address.
    """

    def __init__(
        self,
        log_dir: pathlib.Path,
        *,
        address: str | None = None,
        cpus: float = 1,
        gpus: float = 0,
        retries: int = 3,
        setup: Callable[[], None] = lambda: None,
    ):
        try:
            import ray
        except ImportError as error:
            raise RayError(
                f"--engine=ray needs Ray ({error}): {install_extra('cluster')} installs it"
            ) from None
        self._ray: Any = ray
        self._log_dir, self._setup = log_dir.absolute(), setup
        self._options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": retries}
        if not ray.is_initialized():
            try:
                ray.init(
                    address=address,
                    include_dashboard=None if address else False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,  # it tells of tokens and ports
                    runtime_env={"env_vars": {"PYTHONPATH": str(_PACKAGE_ROOT)}},
                )
            except (ConnectionError, ValueError) as error:
                raise RayError(f"--ray_address={address}: {error}") from error
        self._require_room(cpus, gpus)

    def _require_room(self, cpus: float, gpus: float) -> None:
        """Checks that some node is large enough; otherwise tasks would wait for ever."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(n.get("CPU", 0) >= cpus and n.get("GPU", 0) >= gpus for n in nodes):
            largest = [(n.get("CPU", 0), n.get("GPU", 0)) for n in nodes]
            raise RayError(
                f"--ray_cpus={cpus:g}, --ray_gpus={gpus:g}: no node has that many; "
                f"cores and accelerators of the nodes: {largest}"
            )

    def run(self, tasks: Sequence[Task], console: Console) -> None:
        """Runs all tasks, as many at a time as the cluster has room for.

        Args:
          tasks: the tasks.
          console: output of progress lines; those of a task go to ``log_dir``.

        Raises:
          UserError: raised by a task, as in this process; tasks in progress are stopped.
          RayError: if a task's worker died too often.
        """
        ray, progress = self._ray, TaskProgress(tasks)
        self._log_dir.mkdir(parents=True, exist_ok=True)
        remote = ray.remote(**self._options)(_run)
        logs = {self._log_dir / f"task_{n}.log": task for n, task in enumerate(tasks)}
        began_s = time.time()
        pending = {remote.remote(task, log, self._setup): task for log, task in logs.items()}
        console.say(f"{len(tasks)} tasks sent to the cluster; their output: {self._log_dir}")
        try:
            while pending:
                ready, _ = ray.wait(list(pending), num_returns=1, timeout=_LOOKS_EVERY_S)
                for reference in ready:
                    task = pending.pop(reference)
                    ray.get(reference)
                    console.say(progress.ended(task))
                if not ready:
                    console.progress(progress.so_far(_newest_line(logs, began_s)))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            raise RayError(
                f"{task.name}: its workers died {self._options['max_retries']} times and more "
                f"({error}); the same command goes on with what is missing"
            ) from error
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)


def _newest_line(logs: Mapping[pathlib.Path, Task], since_s: float) -> str:
    """Returns the last line of the log that was written last, under its task's name.

    Args:
      logs: tasks by their logs.
      since_s: time in seconds since the epoch before which logs are of an interrupted run.
    """
    written = {log: log.stat().st_mtime for log in logs if log.exists()}
    newest = max(written, key=written.__getitem__, default=None)
    if newest is None or written[newest] < since_s:
        return ""
    lines = newest.read_text("utf-8", errors="replace").splitlines()
    return f"{logs[newest].name}: {lines[-1]}" if lines else ""


def _run(task: Task, log: pathlib.Path, setup: Callable[[], None]) -> None:
    """Runs a task in a worker; the log is appended to, so that it tells of interruptions."""
    _set_up_once(setup)
    with log.open("a") as stream:
        task(Console(stream))


_READY: list[bool] = []


def _set_up_once(setup: Callable[[], None]) -> None:
    if not _READY:
        setup()
        _READY.append(True)
