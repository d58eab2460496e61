"""Progress output on a terminal or in a log."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO


class Console:
    """Progress output: a rewritten line on a terminal, or periodic lines in a log.

    Args:
      stream: output stream.
      period_seconds: minimum time in seconds between lines if ``stream`` is not a terminal.
      clock: returns the time in seconds; replaceable in tests.
      enabled: whether this process prints; True on exactly one process.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        period_seconds: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
        enabled: bool = True,
    ):
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._period = 0.2 if self._terminal else period_seconds
        self._clock = clock
        self._last = -float("inf")
        self._open_line = False
        self._enabled = enabled
        self._lock = threading.RLock()  # a step's clock shows its time from another thread

    @property
    def columns(self) -> int | None:
        """Width of the terminal in characters; None if the stream is not a terminal."""
        if not self._terminal:
            return None
        try:
            return os.get_terminal_size(self._stream.fileno()).columns
        except OSError:  # a terminal that does not say, or a test's
            return shutil.get_terminal_size().columns

    def progress(self, line: str, *, force: bool = False) -> None:
        """Shows a progress line, unless one was shown less than the minimum time ago.

        On a terminal it is cut to the width: of a line that wraps, only the last part is rewritten.

        Args:
          line: the line.
          force: show the line in any case.
        """
        with self._lock:
            if not self._enabled or (self._clock() - self._last < self._period and not force):
                return
            self._last = self._clock()
            columns = self.columns
            if columns is not None:
                shown = line if len(line) < columns else f"{line[: columns - 4]}..."
                self._stream.write(f"\r\x1b[2K{shown}")
                self._open_line = True
            else:
                self._stream.write(line + "\n")
            self._stream.flush()

    def say(self, line: str) -> None:
        """Prints a line that is not overwritten."""
        with self._lock:
            if not self._enabled:
                return
            self.end_line()
            self._stream.write(line + "\n")
            self._stream.flush()

    def finish(self, line: str) -> None:
        """Prints a line in place of the current progress line, if there is one."""
        with self._lock:
            if self._open_line:
                self._stream.write("\r\x1b[2K")
                self._open_line = False
            self.say(line)

    def end_line(self) -> None:
        """Ends the current progress line, so that it is not overwritten."""
        with self._lock:
            if self._open_line:
                self._stream.write("\n")
                self._stream.flush()
                self._open_line = False


def format_duration(seconds: float) -> str:
    """Formats a duration, e.g. ``59 s``, ``12 min 5 s``, ``3 h 4 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
