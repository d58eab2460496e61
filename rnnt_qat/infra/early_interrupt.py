"""Ctrl-C while a program still imports its modules, which takes seconds: one line, as later."""

import signal
import sys
from types import FrameType

from rnnt_qat.infra.signal_watch import end_process, exit_code_of

STOPPED = "stopped by Ctrl-C"
"""The message of a program that Ctrl-C stopped."""

INTERRUPTED = exit_code_of(signal.SIGINT)
"""The exit code of such a program."""


def watch_imports() -> None:
    """Lets Ctrl-C end the process in one line until ``give_back`` (see ``missing_packages``).

    It does so only while ``python -m PACKAGE.MODULE`` imports its own package (``sys.argv[0]`` is
    ``-m`` just then), so that whoever imports such a package as a library keeps its handlers. A
    signal that is ignored, as in a job of the background, stays ignored.
    """
    if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def give_back() -> None:
    """Lets Ctrl-C raise KeyboardInterrupt again, once the program handles it."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    end_process(INTERRUPTED, STOPPED)
