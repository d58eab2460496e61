"""Signals heard at once, also while the main thread is inside compiled code."""

import os
import signal
import threading
from collections.abc import Callable


class SignalWatch:
    """While entered, hands each signal's number to a function in a thread of its own.

    Python runs signal handlers between two instructions of the main thread, which may be minutes
    away while XLA compiles. The interpreter writes a byte as soon as a signal arrives, though, and
    that is read here. To be entered in the main thread; only signals that have a handler written
    in Python are heard.

    Args:
      heard: is called with the number of each signal.
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
        os.close(self._writer)  # the reader finds the end
        self._thread.join()
        os.close(self._reader)

    def _listen(self) -> None:
        while received := os.read(self._reader, 1):
            self._heard(received[0])


def end_process(exit_code: int, message: str) -> None:
    """Ends the process without unwinding: nothing is torn down under threads that still run."""
    os.write(2, f"\n{message}\n".encode())
    os._exit(exit_code)


def exit_code_of(number: int) -> int:
    """What shells expect of a process that a signal ended."""
    return 128 + number


def name_of(number: int) -> str:
    """``SIGINT (Ctrl-C)``, ``SIGTERM``."""
    name = signal.Signals(number).name
    return f"{name} (Ctrl-C)" if number == signal.SIGINT else name
