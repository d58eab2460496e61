"""Classification of user errors, and the exit codes of programs.

Exit codes: 0 done, 1 failed, 2 wrong usage (a flag or a config), 130 stopped by Ctrl-C. What the
user can mend is one message without a traceback; a fault of the program keeps its traceback.
"""

import errno
import logging as python_logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from absl import app, flags, logging

from rnnt_qat.infra.config import ConfigError
from rnnt_qat.infra.early_interrupt import INTERRUPTED, STOPPED, give_back
from rnnt_qat.infra.errors import UserError
from rnnt_qat.infra.help_text import help_text
from rnnt_qat.infra.host_memory import keep_freed_memory
from rnnt_qat.infra.signal_watch import SignalWatch, end_process, exit_code_of
from rnnt_qat.missing_packages import missing_package

FAILURE, USAGE = 1, 2

_MENDS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the quota of disk space is used up: free some space",
    errno.EFBIG: "the file grows past the size that is allowed (ulimit -f)",
    errno.EACCES: "permission denied: choose another path, or change its permissions",
    errno.EPERM: "permission denied: choose another path, or change its permissions",
    errno.EROFS: "the file system is read-only: choose another path",
    errno.ENOENT: "there is no such file or folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another path",
    errno.EISDIR: "this is a folder, not a file: name a file",
    errno.EEXIST: "a file of that name is in the way: choose another path",
    errno.ENAMETOOLONG: "the path is too long",
    errno.EMFILE: "too many open files (ulimit -n)",
    errno.EIO: "the disk reports an input/output error",
    errno.ESTALE: "the network file system lost the file",
}
# Texts by which errors of TensorStore, Orbax and C libraries report the same conditions.
_TEXTS = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "File too large": errno.EFBIG,
    "Permission denied": errno.EACCES,
    "Read-only file system": errno.EROFS,
    "Input/output error": errno.EIO,
}


def explain(error: BaseException) -> tuple[str, int] | None:
    """Returns the message and exit code of a user error; None for a fault of the program."""
    if isinstance(error, KeyboardInterrupt):
        return STOPPED, INTERRUPTED
    if isinstance(error, flags.Error):
        return f"{_of_a_flag(str(error))}\n`--help` lists the flags.", USAGE
    if isinstance(error, ConfigError):
        return f"{type(error).__name__}: {error}", USAGE
    if isinstance(error, UserError):
        return f"{type(error).__name__}: {error}", FAILURE
    if isinstance(error, MemoryError):
        return f"MemoryError: {error}: {_LESS_MEMORY}", FAILURE
    if missing := missing_package(error):
        return missing, FAILURE
    for cause in _chain(error):
        if message := _of_the_system(cause):
            return message, FAILURE
    return None


def _of_a_flag(text: str) -> str:
    """Returns absl's message of a wrong flag in the words of the other messages."""
    if match := re.search(r"Flag --(\w+) must have a value other than None", text):
        name = match[1]
        return f"give --{name}: {flags.FLAGS[name].help}" if name in flags.FLAGS else text
    for theirs, ours in _OF_ABSL.items():
        text = re.sub(f"^flag (--.*?): {theirs}", rf"\1: {ours}", text)
    return text


def require_values(values: flags.FlagValues = flags.FLAGS) -> None:
    """Checks that no flag of the command line was given an empty value, e.g. of an unset variable.

    An empty list would read as a list that was not given, an empty path as the current folder.

    Args:
      values: the flags, parsed.

    Raises:
      IllegalFlagValueError: if a list has an empty value or none, or a text is empty where its
        default is not; the message names the flag.
    """
    for name in values:
        flag = values[name]
        if not flag.present or "." in name:  # --config.FIELD has the checks of its config
            continue
        if isinstance(flag.value, list):
            texts = flag.value or [""]
        else:
            texts = [flag.value] if flag.default != "" else []
        if all(text.strip() for text in texts if isinstance(text, str)):
            continue
        given = ",".join(flag.value) if isinstance(flag.value, list) else flag.value
        raise flags.IllegalFlagValueError(
            f"--{name}={given}: a value is empty; the flag takes: {flag.help}"
        )


_OF_ABSL = {
    "could not convert string to float: .*": "this is not a number",
    r"invalid literal for int\(\) with base 10: .*": "this is not a whole number",
    "value should be one of <(.*)>": r"choose one of \2",
    ".* is not (an? .*)": r"give \2",
}

_LESS_MEMORY = "there is too little memory: lower pipeline.batch_seconds, or the model's sizes"


def _of_the_system(error: BaseException) -> str | None:
    """Returns the message of an error caused by the machine; None for other errors."""
    if (
        isinstance(error, OSError)
        and error.errno in _MENDS
        and not isinstance(error, ConnectionError)
    ):
        if error.filename is None and error.errno == errno.ENOENT:
            return None
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        return f"{where}{_MENDS[error.errno]} ({os.strerror(error.errno)})"
    text = str(error)
    if type(error).__name__ in ("XlaRuntimeError", "JaxRuntimeError"):
        if "RESOURCE_EXHAUSTED" in text:
            return f"{text.splitlines()[0]}: {_LESS_MEMORY}"
        if any(code in text for code in _LOST_PEER):
            return (
                f"another process of the job is gone or hangs ({text.splitlines()[0]}): " + _RESTART
            )
    for words, number in _TEXTS.items():
        if words in text:
            return f"{_MENDS[number]} ({text.strip().splitlines()[0]})"
    return None


_LOST_PEER = ("DEADLINE_EXCEEDED", "UNAVAILABLE", "Connection closed by peer", "Gloo")
_RESTART = "end the others and start all of them again; the run goes on from its newest checkpoint"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and its chain of causes."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def run(
    main: Callable[[], int | None],
    parse: Callable[[Sequence[str]], list[str]] | None = None,
    groups: Callable[[Sequence[flags.Flag]], Mapping[str, Sequence[flags.Flag]]] | None = None,
) -> None:
    """Runs ``main`` as a program and ends the process with its exit code.

    Args:
      main: the program; takes no arguments and returns the exit code or None.
      parse: parses the command line into ``flags.FLAGS``; None for absl's default parser.
      groups: divides the program's flags into the groups of ``--help``, by title; None for one.
    """

    def checked(argv: list[str]) -> int | None:
        if len(argv) > 1:
            raise flags.Error(f"unexpected arguments: {' '.join(argv[1:])}")
        set_up_logs()
        return main()

    def parsed(argv: Sequence[str]) -> list[str]:
        if _HELP & set(argv[1:]):
            print(_help(main, groups), end="")
            sys.exit(0)
        rest = (parse or flags.FLAGS)(list(argv))
        require_values()
        return rest

    threading.excepthook = _thread_failed
    sys.unraisablehook = _unraisable
    keep_freed_memory()  # the thread that waits for signals is the first
    with SignalWatch(_second_interrupt()):
        try:
            give_back()
            app.run(checked, flags_parser=parsed)
        except BrokenPipeError:  # the reader of the output has closed the pipe
            os._exit(exit_code_of(signal.SIGPIPE))
        except (Exception, KeyboardInterrupt) as error:
            explained = explain(error)
            if explained is None:
                raise
            message, code = explained
            # An orderly exit would wait for the other processes of the job, which may have ended.
            if isinstance(error, KeyboardInterrupt) or jax.distributed.is_initialized():
                end_process(code, message)
            print(message, file=sys.stderr)
            sys.exit(code)


def set_up_logs() -> None:
    """Leaves warnings and errors in the log of this process, formatted like its own messages."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)  # Orbax, JAX and tfds log every step
    logging.get_absl_handler().addFilter(_is_a_fault)
    logging.get_absl_handler().setFormatter(_PlainFormatter())


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Prints the message of a user's error in a thread; Orbax raises it again in the main one."""
    explained = explain(failure.exc_value) if failure.exc_value is not None else None
    if explained is None:
        threading.__excepthook__(failure)
    else:
        print(explained[0], file=sys.stderr)


class _PlainFormatter(python_logging.Formatter):
    """Formats log records like the programs' own messages, e.g. ``warning: ...``."""

    def format(self, record: python_logging.LogRecord) -> str:
        """Returns the level, the message, and the traceback if there is one."""
        return f"{record.levelname.lower()}: {super().format(record)}"


_NO_FAULTS = (
    "Metadata file does not exist",  # Orbax, of each checkpoint: it writes none for one item
    "Using custom data configuration",  # tfds, of each corpus whose config a flag names
)
"""Beginnings of warnings that say nothing to a user."""


def _is_a_fault(record: python_logging.LogRecord) -> bool:
    """Leaves out of the log what is no fault, and what is raised again in the main thread."""
    if str(record.msg).startswith(_NO_FAULTS):
        return False
    error = record.exc_info[1] if record.exc_info else None
    return error is None or (explain(error) is None and not _of_a_closed_loop(error))


def _unraisable(failure: Any) -> None:
    """Prints an error of TensorStore's threads, unless it follows from another one."""
    if failure.exc_value is None or not _of_a_closed_loop(failure.exc_value):
        sys.__unraisablehook__(failure)


def _of_a_closed_loop(error: BaseException) -> bool:
    """Returns whether a write only ended after Orbax had closed its event loop for an error."""
    return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"


_HELP = {"--help", "-help", "-h", "-?", "--helpshort", "-helpshort"}


def _help(
    main: Callable[[], int | None],
    groups: Callable[[Sequence[flags.Flag]], Mapping[str, Sequence[flags.Flag]]] | None,
) -> str:
    """Returns the help of the program whose module defines ``main``."""
    module = sys.modules[main.__module__]
    defined_by = sys.argv[0] if module.__name__ == "__main__" else module.__name__
    own = flags.FLAGS.get_flags_for_module(defined_by)
    return help_text(module.__doc__ or "", groups(own) if groups else {"Flags": own})


def _second_interrupt() -> Callable[[int], None]:
    """Returns a handler that lets the first Ctrl-C through and ends the process on the second."""
    count = 0

    def heard(number: int) -> None:
        nonlocal count
        count += number == signal.SIGINT
        if count == 2:
            end_process(INTERRUPTED, "stopped by a second Ctrl-C")

    return heard
