"""Tasks of a study in several processes of this machine at a time."""

import collections
import contextlib
import io
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TextIO, cast

from absl import flags

from rnnt_qat.infra.console import Console
from rnnt_qat.infra.errors import UserError
from rnnt_qat.infra.host_memory import keep_freed_memory
from rnnt_qat.infra.program import explain, set_up_logs
from rnnt_qat.infra.progress import QUIET_SECONDS
from rnnt_qat.studies.engine import Task, TaskProgress


class TaskStoppedError(UserError):
    """A task that its process did not finish."""


class Processes:
    """Runs tasks side by side, each in a new process.

    The processes are no part of the terminal's process group, so that one Ctrl-C reaches this
    process alone. They end when it ends, for whatever reason, as after SIGTERM: a stage of training
    writes a checkpoint first.

    Args:
      jobs: largest number of processes at a time, at least 1.
      log_dir: folder of the tasks' progress lines, one file a task.
      setup: function called in each process before its task; can be pickled.
    """

    def __init__(self, jobs: int, log_dir: pathlib.Path, setup: Callable[[], None]):
        self._jobs, self._log_dir, self._setup = jobs, log_dir, setup

    def run(self, tasks: Sequence[Task], console: Console) -> None:
        """Runs all tasks, and shows their lines under their names.

        Args:
          tasks: the tasks.
          console: output of progress lines.

        Raises:
          TaskStoppedError: if a task raised a user's error, or its process died; the tasks beside
            it are stopped.
          RuntimeError: if a task failed otherwise.
        """
        progress, waiting = TaskProgress(tasks), collections.deque(enumerate(tasks))
        self._log_dir.mkdir(parents=True, exist_ok=True)
        running: dict[Connection, tuple[Task, SpawnProcess]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._jobs:
                    number, task = waiting.popleft()
                    if task.is_done:
                        task(console)
                        console.say(progress.ended(task))
                    else:
                        log = self._log_dir / f"task_{number}.log"
                        connection, process = self._start(task, log)
                        running[connection] = task, process
                if not running:  # all were done before
                    break
                found = multiprocessing.connection.wait(list(running), QUIET_SECONDS)
                if not found:  # e.g. while the processes import their modules
                    console.progress(progress.so_far(""))
                for ready in found:
                    assert isinstance(ready, Connection)
                    task, process = running[ready]
                    if self._ended(ready, task, process, console):
                        del running[ready]
                        ready.close()
                        process.join()
                        console.finish(progress.ended(task))
        finally:
            for connection in running:
                connection.close()  # the process takes this for SIGTERM
            for _, process in running.values():
                process.join()

    def _start(self, task: Task, log: pathlib.Path) -> tuple[Connection, SpawnProcess]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(task, self._setup, log, theirs))
        process.start()
        theirs.close()  # the copy of this process, which would keep the pipe open
        return ours, process

    def _ended(
        self, connection: Connection, task: Task, process: SpawnProcess, console: Console
    ) -> bool:
        """Reads a message and returns whether it was the last one of a finished task."""
        try:
            kind, text = connection.recv()
        except (EOFError, ConnectionResetError):
            process.join()
            raise TaskStoppedError(
                f"{task.name}: its process ended with exit code {process.exitcode} before it was "
                "done; the same command goes on with what is missing"
            ) from None
        if kind == _LINE:
            console.finish(f"{task.name}: {text}")
        elif kind == _USER_ERROR:
            raise TaskStoppedError(f"{task.name}: {text}")
        elif kind == _FAULT:
            raise RuntimeError(f"{task.name} failed in its process:\n{text}")
        return kind == _DONE


_LINE, _DONE, _USER_ERROR, _FAULT = "line", "done", "user error", "fault"


def _work(task: Task, setup: Callable[[], None], log: pathlib.Path, connection: Connection) -> None:
    """Runs a task in a new process.

    Args:
      task: the task.
      setup: called first.
      log: file of the progress lines; appended to, so that it tells of interruptions.
      connection: to the process that started this one.
    """
    os.setsid()
    keep_freed_memory()  # before the first thread
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    with log.open("a") as stream:
        try:
            flags.FLAGS.mark_as_parsed()  # absl's log waits for it
            set_up_logs()
            setup()
            task(Console(cast(TextIO, _SentLines(stream, connection))))
        except Exception as error:
            explained = explain(error)
            if explained is None:
                _send(connection, _FAULT, traceback.format_exc())
            else:
                _send(connection, _USER_ERROR, explained[0])
        else:
            _send(connection, _DONE, "")


def _end_with(connection: Connection) -> None:
    """Sends SIGTERM to this process when the one that started it has closed the pipe or ended."""
    try:
        connection.recv()  # nothing is ever sent
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)


def _send(connection: Connection, kind: str, text: str) -> None:
    with contextlib.suppress(OSError):  # the other process is gone, and `_end_with` ends this one
        connection.send((kind, text))


class _SentLines(io.TextIOBase):
    """A stream whose lines go to a log and to another process."""

    def __init__(self, log: TextIO, connection: Connection):
        self._log, self._connection = log, connection

    def write(self, text: str) -> int:
        self._log.write(text)
        self._log.flush()
        _send(self._connection, _LINE, text.removesuffix("\n"))
        return len(text)
