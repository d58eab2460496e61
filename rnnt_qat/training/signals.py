"""SIGINT and SIGTERM as a request to stop after the step under way."""

import contextlib
import signal
import types
from collections.abc import Callable, Iterator
from typing import Any

from rnnt_qat.infra.signal_watch import SignalWatch, end_process, exit_code_of, name_of

Handler = Callable[[int, types.FrameType | None], Any] | int | None


class StopRequest:
    """While entered, a first SIGINT or SIGTERM is noted; a second one ends the process at once.

    Args:
      said: is told in a line what the first signal leads to; called from another thread.

    Attributes:
      signal_number: the signal noted, or None.
    """

    def __init__(self, said: Callable[[str], None] = lambda line: None):
        self.signal_number: int | None = None
        self._said = said
        self._nothing_to_save: str | None = None
        self._former: dict[int, Handler] = {}
        self._watch = SignalWatch(self._heard)

    def __enter__(self) -> "StopRequest":
        self._watch.__enter__()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, lambda *_: None)  # `_heard` does the work
        return self

    def __exit__(self, *_) -> None:
        while self._former:
            number, handler = self._former.popitem()
            # None: code that is not Python's had installed it, and it cannot be put back from here.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._watch.__exit__()

    def __bool__(self) -> bool:
        return self.signal_number is not None

    @contextlib.contextmanager
    def nothing_to_save(self, doing: str) -> Iterator[None]:
        """While entered, already the first signal ends the process: no step would be lost.

        Args:
          doing: what is going on, for the line that is said then.
        """
        self._nothing_to_save = doing
        try:
            yield
        finally:
            self._nothing_to_save = None

    def _heard(self, number: int) -> None:
        if number not in (signal.SIGINT, signal.SIGTERM):
            return
        again = "the same command goes on from the newest checkpoint"
        if self.signal_number is not None:
            end_process(exit_code_of(number), f"ended by a second {name_of(number)}; {again}")
        if self._nothing_to_save is not None:
            line = f"stopped by {name_of(number)} while {self._nothing_to_save}; {again}"
            end_process(exit_code_of(number), line)
        self.signal_number = number
        self._said(f"{name_of(number)}: stops after this step; once more ends the process at once")


class StoppedBySignal(Exception):  # noqa: N818 - not an error: the run can go on
    """A run stopped with its checkpoint on disk.

    Attributes:
      signal_number: what asked it to.
      step: batches done.
    """

    def __init__(self, signal_number: int, step: int):
        super().__init__(f"stopped at step {step} by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number
        self.step = step

    @property
    def exit_code(self) -> int:
        """What shells expect of a process that a signal ended: 128 + its number."""
        return exit_code_of(self.signal_number)
