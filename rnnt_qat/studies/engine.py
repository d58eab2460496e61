"""Where the tasks of a study run: one after the other in this process, or on a cluster."""

import time
from collections.abc import Sequence
from typing import Protocol

from rnnt_qat.infra.console import Console, format_duration


class Task(Protocol):
    """Independent work whose result is files; it can be pickled.

    A task that is run again continues where it was interrupted, and a finished one is not repeated.
    """

    @property
    def name(self) -> str:
        """Name in progress lines."""

    def __call__(self, console: Console) -> None:
        """Does the work.

        Args:
          console: output of progress lines.
        """


class Engine(Protocol):
    """A way to run tasks."""

    def run(self, tasks: Sequence[Task], console: Console) -> None:
        """Runs all tasks and returns when the last one has ended.

        Args:
          tasks: the tasks, which do not depend on each other.
          console: output of progress lines.
        """


class InProcess:
    """Runs tasks one after the other in this process."""

    def run(self, tasks: Sequence[Task], console: Console) -> None:
        """Runs all tasks in order."""
        progress = TaskProgress(len(tasks))
        for task in tasks:
            task(console)
            console.say(progress.ended(task.name))


class TaskProgress:
    """Number of finished tasks and the time that the others will take.

    Args:
      total: number of tasks.
    """

    def __init__(self, total: int):
        self._total, self._ended, self._begun = total, 0, time.monotonic()

    def ended(self, name: str) -> str:
        """Counts a task as finished and returns the progress line.

        Args:
          name: name of the task.
        """
        self._ended += 1
        seconds = time.monotonic() - self._begun
        rest = self._total - self._ended
        ahead = f"ETA {format_duration(seconds / self._ended * rest)}" if rest else "all done"
        return f"{name}: {self._ended}/{self._total} in {format_duration(seconds)}, {ahead}"
