"""SIGINT and SIGTERM as a request to stop after the step under way."""

import signal
import types
from collections.abc import Callable
from typing import Any

Handler = Callable[[int, types.FrameType | None], Any] | int | None


class StopRequest:
    """While entered, a first SIGINT or SIGTERM is noted; a second one ends the process at once.

    Attributes:
      signal_number: the signal noted, or None.
    """

    def __init__(self):
        self.signal_number: int | None = None
        self._former: dict[int, Handler] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def __bool__(self) -> bool:
        return self.signal_number is not None

    def _note(self, number: int, _frame: types.FrameType | None) -> None:
        self.signal_number = number
        self._restore()

    def _restore(self) -> None:
        while self._former:
            number, handler = self._former.popitem()
            # None: code that is not Python's had installed it, and it cannot be put back from here.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


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
        return 128 + self.signal_number
