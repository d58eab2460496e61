"""One line that says where training is and when it will be done."""

import sys
import time
from collections.abc import Callable
from typing import TextIO


class Console:
    """Progress on a terminal (one line, rewritten) or in a log (a line now and then).

    Args:
      stream: where to.
      period_seconds: least time between lines where ``stream`` is not a terminal.
      clock: seconds; tests pass their own.
      enabled: False on all processes but one.
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

    def progress(self, line: str, *, force: bool = False) -> None:
        """Shows the line unless one was shown just before."""
        if not self._enabled or (self._clock() - self._last < self._period and not force):
            return
        self._last = self._clock()
        if self._terminal:
            self._stream.write(f"\r\x1b[2K{line}")
            self._open_line = True
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def say(self, line: str) -> None:
        """A line that stays."""
        if not self._enabled:
            return
        self.end_line()
        self._stream.write(line + "\n")
        self._stream.flush()

    def end_line(self) -> None:
        """Leaves the line being rewritten as it is."""
        if self._open_line:
            self._stream.write("\n")
            self._stream.flush()
            self._open_line = False


def format_duration(seconds: float) -> str:
    """``59 s``, ``12 min 5 s``, ``3 h 4 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
