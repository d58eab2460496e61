"""Trainings in forks of one process that has imported everything: a run costs no imports.

A ``Program`` is what a child does with a working directory. Children are stopped, killed and
watched here; what disturbs them is said by the drills.
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Iterator

from rnnt_qat.infra.durable_files import checksum

LIMIT_S = 900.0
"""A run that takes longer hangs."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A training.

    Attributes:
        main: runs it to its end in this process and ends it; takes the command line's arguments.
        arguments: of the command line, from the working directory.
        results: patterns of the files that are the same after every run that reached its end.
    """

    main: Callable[[], None]
    arguments: Callable[[pathlib.Path], list[str]]
    results: tuple[str, ...]

    def digests(self, workdir: pathlib.Path) -> dict[str, str]:
        """Checksums of a run's results by their paths."""
        files = sorted(file for pattern in self.results for file in workdir.glob(pattern))
        return {str(file.relative_to(workdir)): checksum(file) for file in files}


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code (negative: a signal), what it printed, how long it took."""

    code: int
    output: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Row:
    """What a kind of disturbance did.

    Attributes:
        name: the kind.
        cases: disturbances.
        runs: runs that they fell on, each taken to its end.
        failures: what went wrong, by the case's number.
    """

    name: str
    cases: int
    runs: int
    failures: dict[int, str]


class Run:
    """A run on its way, in a child of this process.

    Args:
        program: what it does.
        workdir: its working directory.
        extra: further arguments of its command line.
        prepare: is called in the child before.
    """

    def __init__(
        self,
        program: Program,
        workdir: pathlib.Path,
        extra: tuple[str, ...] = (),
        prepare: Callable[[], None] = lambda: None,
    ):
        self._begun = time.monotonic()
        self._output, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 2**20)  # more than a run prints
        self.process = os.fork()
        if self.process:
            os.close(writer)
            return
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        sys.argv = ["train", *program.arguments(workdir), *extra]
        code = 1
        try:
            prepare()
            program.main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def signal(self, number: int) -> None:
        """Sends a signal; nothing happens where the run has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, number)

    def end(self, kill_after: float = LIMIT_S) -> Ended:
        """Waits until it ends; kills it where it does not within some seconds."""
        limit = time.monotonic() + kill_after
        while True:
            done, status = os.waitpid(self.process, os.WNOHANG)
            if done:
                with open(self._output, "rb") as pipe:
                    text = pipe.read().decode(errors="replace")
                seconds = time.monotonic() - self._begun
                return Ended(os.waitstatus_to_exitcode(status), text, seconds)
            if time.monotonic() > limit:
                self.signal(signal.SIGKILL)
                limit = float("inf")
            time.sleep(0.005)


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Variables of the environment that are not set yet."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
