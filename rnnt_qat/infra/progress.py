"""Progress of one step of a program: what it is, how far, and how long it takes."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rnnt_qat.infra.console import Console, format_duration

Part = TypeVar("Part")

QUIET_SECONDS = 5.0
"""A step shorter than this is not shown."""


class Progress:
    """A context that shows a step on the console while it runs.

    A step that reports its parts with ``at`` shows their share and an estimate of the time left. A
    step that cannot, e.g. a compilation, shows the time since it began. On exit one line remains
    of a step that took longer than ``QUIET_SECONDS``.

    Args:
      title: what the step does.
      console: output; None shows nothing.
      clock: returns the time in seconds; replaceable in tests.
    """

    def __init__(
        self,
        title: str,
        console: Console | None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._title, self._console, self._clock = title, console, clock
        self._began = clock()
        self._counted = False
        self._first = 0.0, 0
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
        if self._console is not None and elapsed >= QUIET_SECONDS and kind is None:
            self._console.finish(f"{self._title}: {format_duration(elapsed)}")

    def at(self, done: int, total: int) -> None:
        """Shows how far the step is.

        Args:
          done: number of finished parts.
          total: number of all parts.
        """
        now = self._elapsed()
        if not self._counted:
            self._counted = done > 0
            self._first = now, done
        began, before = self._first
        if self._console is None or now < QUIET_SECONDS or not done:
            return
        # The first part may include a compilation, so only the later ones tell how fast it goes.
        left = ""
        if done > before:
            left = f", {format_duration((now - began) * (total - done) / (done - before))} left"
        self._console.progress(f"{self._title}: {done} of {total} ({done / total:.0%}){left}")

    def each(self, parts: Iterable[Part], total: int) -> Iterator[Part]:
        """Yields parts, and shows how many of them have been finished.

        Args:
          parts: the parts of the step.
          total: number of all parts.
        """
        for done, part in enumerate(parts):
            yield part
            self.at(done + 1, total)

    def _elapsed(self) -> float:
        return self._clock() - self._began

    def _show_elapsed(self) -> None:
        """Shows the elapsed time of a step that does not count its parts."""
        while not self._ended.wait(1.0):
            if not self._counted and self._elapsed() >= QUIET_SECONDS and self._console is not None:
                self._console.progress(f"{self._title}: {format_duration(self._elapsed())} so far")
