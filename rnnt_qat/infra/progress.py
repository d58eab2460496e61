"""Progress of one step of a program: what it is, how far, and how long it takes."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rnnt_qat.infra.console import Console, format_duration

Part = TypeVar("Part")

QUIET_SECONDS = 5.0
"""A step shorter than this is not shown."""


class _Pace:
    """Mean time of repeated work; NaN before any is done."""

    def __init__(self) -> None:
        self._seconds, self._times = 0.0, 0

    def add(self, seconds: float, times: int) -> None:
        self._seconds += seconds
        self._times += times

    @property
    def mean_s(self) -> float:
        return self._seconds / self._times if self._times else math.nan


class Progress:
    """A context that shows a step on the console while it runs.

    A step that reports its parts with ``at`` shows their share and an estimate of the time left. A
    step that cannot, e.g. a compilation, shows the time since it began. On exit one line may
    remain.

    Args:
      title: what the step does.
      console: output; None shows nothing.
      unit: what the parts are, in the plural.
      remains: whether a line remains of a step that took longer than ``QUIET_SECONDS``.
      clock: returns the time in seconds; replaceable in tests.
    """

    def __init__(
        self,
        title: str,
        console: Console | None,
        unit: str = "",
        remains: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._title, self._console, self._clock = title, console, clock
        self._remains = remains
        self._unit = f" {unit}" if unit else ""
        self._began = clock()
        self._counted, self._reached = False, ""
        self._found_done = 0
        self._before = 0.0, 0, 0  # time, parts done and programs left at the last call of `at`
        self._plain, self._compiling = _Pace(), _Pace()
        self._ended = threading.Event()
        self._watch: threading.Thread | None = None

    def __enter__(self) -> "Progress":
        """Begins the step."""
        self._began = self._clock()
        if self._console is not None:
            self._watch = threading.Thread(target=self._show_elapsed, daemon=True)
            self._watch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Ends the step."""
        self._ended.set()
        if self._watch is not None:
            self._watch.join()
        elapsed = self._elapsed()
        if self._remains and self._console and elapsed >= QUIET_SECONDS and kind is None:
            self._console.finish(f"{self._title}: {format_duration(elapsed)}")

    def at(
        self,
        done: int,
        total: int | None,
        programs_left: int = 0,
        found_done: int = 0,
        note: str = "",
    ) -> None:
        """Shows how far the step is. A call at the beginning says what is ahead.

        Args:
          done: number of finished parts.
          total: number of all parts; None if it is unknown.
          programs_left: number of parts ahead that have to compile a program first.
          found_done: number of the finished parts that an earlier run left behind, which say
            nothing of how fast it goes.
          note: text to show beside the number of parts, e.g. a rate.
        """
        now = self._elapsed()
        if total is None:
            self._reached = f"{done:,}{self._unit}, "
        else:
            self._reached = f"{done:,} of {total:,}{self._unit} ({done / total:.0%}), "
        if programs_left:
            plural = "s" * (programs_left > 1)
            self._reached += f"{programs_left} program{plural} to compile, "
        if not self._counted and not done and now < 1.0:  # says what is ahead; nothing is measured
            self._before, self._counted = (now, 0, programs_left), True
            return
        then, before, programs_before = self._before
        # The first part may include a compilation, so only the later ones tell how fast it goes.
        compiled = programs_before - programs_left if self._counted else 1
        if compiled > 0:
            self._compiling.add(now - then, compiled)
        elif (made := done - before - (found_done - self._found_done)) > 0:
            self._plain.add(now - then, made)
        if compiled > 0 or done > before:
            self._before = now, done, programs_left
        self._found_done = found_done
        self._counted = True
        if self._console is None or now < QUIET_SECONDS or not done:
            return
        if total is None:
            share = f"{done:,}{self._unit} in {format_duration(now)}"
            share += f", {note}" if note else ""
        else:
            share = f"{done:,} of {total:,}{self._unit} ({done / total:.0%})"
            left = (total - done - programs_left) * self._plain.mean_s
            left += programs_left * self._compiling.mean_s if programs_left else 0.0
            share += f", {note}" if note else ""
            share += "" if math.isnan(left) else f", {format_duration(left)} left"
        self._console.progress(f"{self._title}: {share}")

    def each(self, parts: Iterable[Part], total: int | None) -> Iterator[Part]:
        """Yields parts, and shows how many of them have been finished.

        Args:
          parts: the parts of the step.
          total: number of all parts; None if it is unknown, which leaves no estimate.
        """
        for done, part in enumerate(parts):
            yield part
            self.at(done + 1, total)

    def _elapsed(self) -> float:
        return self._clock() - self._began

    def _show_elapsed(self) -> None:
        while not self._ended.wait(1.0):
            self.tick()

    def tick(self) -> None:
        """Shows how far the step was and its elapsed time, if no part has ended for a while."""
        now = self._elapsed()
        if self._console and now >= QUIET_SECONDS and now - self._before[0] >= QUIET_SECONDS:
            self._console.progress(f"{self._title}: {self._reached}{format_duration(now)} so far")
