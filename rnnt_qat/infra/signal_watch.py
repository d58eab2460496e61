"""Immediate handling of signals, even while the main thread runs compiled code."""

import os
import signal
import threading
from collections.abc import Callable


class SignalWatch:
    """A context that passes each signal's number to a function in a separate thread.

    Python runs signal handlers between two instructions of the main thread, which may be minutes
    away while XLA compiles. The interpreter writes a byte to a wakeup descriptor as soon as a
    signal arrives, which is read here. The context must be entered in the main thread and handles
    only signals that have a Python handler.

    Args:
      heard: called with the number of each signal.
    """

    def __init__(self, heard: Callable[[int], None]):
        self._heard = heard

    def __enter__(self) -> "SignalWatch":
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._former = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, daemon=True, name="signals")
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        signal.set_wakeup_fd(self._former)
        os.close(self._writer)  # the reading thread ends at end-of-file
        self._thread.join()
        os.close(self._reader)

    def _listen(self) -> None:
        while received := os.read(self._reader, 1):
            self._heard(received[0])


def end_process(exit_code: int, message: str) -> None:
    """Ends the process without cleanup, which would be unsafe while other threads run.

    Args:
      exit_code: exit code of the process.
      message: line to print.
    """
    os.write(2, f"\n{message}\n".encode())
    os._exit(exit_code)


def exit_code_of(number: int) -> int:
    """Returns the exit code of a process ended by a signal, as shells report it."""
    return 128 + number


def name_of(number: int) -> str:
    """Returns the name of a signal, e.g. ``SIGINT (Ctrl-C)`` or ``SIGTERM``."""
    name = signal.Signals(number).name
    return f"{name} (Ctrl-C)" if number == signal.SIGINT else name
