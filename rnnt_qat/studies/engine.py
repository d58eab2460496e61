"""Where the tasks of a study run: one after the other in this process, or on a cluster."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from rnnt_qat.infra.console import Console, format_duration


class Task(Protocol):
    """Independent work whose result is files; it can be pickled.

    A task that is run again continues where it was interrupted, and a finished one is not repeated.
    """

    @property
    def name(self) -> str:
        """Name in progress lines."""

    @property
    def is_done(self) -> bool:
        """Whether its results are there already, so that running it takes no time."""

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
        progress = TaskProgress(tasks)
        for task in tasks:
            task(console)
            console.say(progress.ended(task))


class TaskProgress:
    """Number of finished tasks and the time that the others will take.

    Args:
      tasks: the tasks; those done before tell nothing of the time that the others take.
      clock: returns the time in seconds; replaceable in tests.
    """

    def __init__(self, tasks: Sequence[Task], clock: Callable[[], float] = time.monotonic):
        self._clock, self._begun = clock, clock()
        self._done_before = {id(task) for task in tasks if task.is_done}
        self._total, self._ended, self._computed = len(tasks), 0, 0

    def so_far(self, said: str) -> str:
        """Returns the progress line while tasks run.

        Args:
          said: the newest line of a task.
        """
        seconds = self._clock() - self._begun
        line = f"{self._ended}/{self._total} in {format_duration(seconds)}"
        return f"{line}; {said}" if said else line

    def ended(self, task: Task) -> str:
        """Counts a task as finished and returns the progress line.

        Args:
          task: one of the tasks.
        """
        self._ended += 1
        self._computed += id(task) not in self._done_before
        seconds = self._clock() - self._begun
        ahead = self._total - len(self._done_before) - self._computed
        line = f"{task.name}: {self._ended}/{self._total} in {format_duration(seconds)}"
        if self._ended == self._total:
            return f"{line}, all done"
        if not self._computed:
            return line
        return f"{line}, ETA {format_duration(seconds / self._computed * ahead)}"
