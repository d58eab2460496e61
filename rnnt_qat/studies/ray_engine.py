"""Tasks of a study on a Ray cluster, or on the cores of this machine.

A task is sent to any node with the declared cores and accelerators free. Its files must lie in a
folder that all nodes see under one path, or in an object store, and the package must be importable
there. What a task prints is sent to this process. A task whose worker or node dies is sent
elsewhere, where it continues from its last checkpoint.
"""

import contextlib
import io
import logging
import pathlib
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO, cast

from rnnt_qat.infra.console import Console
from rnnt_qat.infra.errors import UserError
from rnnt_qat.missing_packages import install_extra
from rnnt_qat.studies.engine import Task, TaskProgress

_PACKAGE_ROOT = pathlib.Path(__file__).parents[2]

_LOOKS_EVERY_S = 1.0

# Lines are collected where they are not lost with a worker's node, and restarted with it.
_COLLECTOR = {
    "num_cpus": 0,
    "resources": {"node:__internal_head__": 0.001},
    "max_restarts": -1,
    "max_task_retries": -1,
}


class RayError(UserError):
    """A cluster that cannot be used, or that lost a task for good."""


class RayEngine:
    """Runs tasks on a Ray cluster.

    Args:
      log_dir: folder of the tasks' progress lines, one file a task; of this process alone.
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
        from ray.util.queue import Queue

        ray, progress = self._ray, TaskProgress(tasks)
        self._log_dir.mkdir(parents=True, exist_ok=True)
        remote = ray.remote(**self._options)(_run)
        logs = {self._log_dir / f"task_{n}.log": task for n, task in enumerate(tasks)}
        lines, newest = Queue(actor_options=_COLLECTOR), ""
        pending = {
            remote.remote(task, log.name, lines, self._setup): task for log, task in logs.items()
        }
        console.say(f"{len(tasks)} tasks sent to the cluster; their output: {self._log_dir}")
        try:
            while pending:
                ready, _ = ray.wait(list(pending), num_returns=1, timeout=_LOOKS_EVERY_S)
                newest = _collected(lines, logs) or newest
                for reference in ready:
                    task = pending.pop(reference)
                    self._require_success(reference, task)
                    console.say(progress.ended(task))
                if not ready:
                    console.progress(progress.so_far(newest))
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)
            with contextlib.suppress(ray.exceptions.RayError):  # the cluster itself may be gone
                _collected(lines, logs)
                lines.shutdown(force=True)

    def _require_success(self, reference: Any, task: Task) -> None:
        """Raises what a task raised, or RayError if its worker died too often."""
        ray = self._ray
        try:
            ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            raise RayError(
                f"{task.name}: its workers died {self._options['max_retries']} times and more "
                f"({error}); the same command goes on with what is missing"
            ) from error


def _collected(lines: Any, logs: Mapping[pathlib.Path, Task]) -> str:
    """Appends lines to their tasks' logs, which so tell of interruptions, too.

    Args:
      lines: queue of names of logs and what was printed.
      logs: tasks by their logs.

    Returns:
      The newest line under its task's name; empty if there is none.
    """
    names, newest = {log.name: log for log in logs}, ""
    for name, text in lines.get_nowait_batch(lines.qsize()):
        with names[name].open("a") as file:
            file.write(text)
        newest = f"{logs[names[name]].name}: {text.rstrip()}"
    return newest


class _SentLines(io.TextIOBase):
    """A stream whose lines go to the process that started the tasks.

    Nobody waits for them before the task ends: Ray lends the cores of a task that waits to others.
    """

    def __init__(self, log: str, lines: Any):
        self._log, self._lines = log, lines
        self._sent: list[Any] = []

    def write(self, text: str) -> int:
        self._sent = [self._lines.actor.put_nowait.remote((self._log, text))]
        return len(text)

    def wait(self) -> None:
        """Returns when all lines have arrived, which they do in order."""
        import ray

        ray.get(self._sent)


def _run(task: Task, log: str, lines: Any, setup: Callable[[], None]) -> None:
    """Runs a task in a worker.

    Args:
      task: the task.
      log: name of its log.
      lines: queue that takes what it prints.
      setup: called before the worker's first task.
    """
    _set_up_once(setup)
    sent = _SentLines(log, lines)
    console = Console(cast(TextIO, sent))
    try:
        task(console)
    except UserError as error:  # e.g. of a corpus that this node lacks
        console.say(f"on {socket.gethostname()}: {type(error).__name__}: {error}")
        raise
    finally:
        sent.wait()


_READY: list[bool] = []


def _set_up_once(setup: Callable[[], None]) -> None:
    if not _READY:
        setup()
        _READY.append(True)
