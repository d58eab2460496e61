"""Cases from a seed, each judged in another process with a time limit.

A drill is a function ``check(rng, folder)`` that makes one hostile input and hands it to the
product. It returns where the input was taken and is right, and raises

- ``Refused`` types, which name what is wrong: a refusal with a clear message;
- ``TakenSilentlyError`` where the input was taken for good and is not;
- anything else: a crash.

A process that dies or does not answer in time is a failure of the case that it was given.
"""

import dataclasses
import multiprocessing
import shutil
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from data.skips import SkipError
from rnnt_qat.infra.errors import UserError

REFUSALS = (SkipError, UserError)
"""Errors whose message is meant for the user."""

LIMIT_S = 60.0
"""A case that takes longer hangs."""

START_S = 120.0

_SHORTEST_MESSAGE = 8


class TakenSilentlyError(AssertionError):
    """A damaged input that was taken for good."""


@dataclasses.dataclass(frozen=True)
class Drill:
    """A kind of hostile input.

    Attributes:
      name: in the table and on the command line.
      check: judges one case, see this module's head; picklable.
      share: of all cases of a run.
    """

    name: str
    check: Callable[[np.random.Generator, Path], None]
    share: float


@dataclasses.dataclass
class Row:
    """What a drill found.

    Attributes:
      name: of the drill.
      cases: inputs made.
      taken: inputs that were taken, rightly.
      refused: inputs that were refused with a message.
      failures: number of a case -> what happened.
      seconds: it took.
    """

    name: str
    cases: int = 0
    taken: int = 0
    refused: int = 0
    failures: dict[int, str] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


def case_rng(name: str, seed: int, case: int) -> np.random.Generator:
    """What case number ``case`` of a drill is drawn from, whatever other cases are run."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), case])


def judge(drill: Drill, seed: int, case: int) -> tuple[str, str]:
    """Runs one case here.

    Returns:
      "taken", "refused", "silent" or "crash", and the message.
    """
    folder = Path(tempfile.mkdtemp(prefix="drill"))
    try:
        drill.check(case_rng(drill.name, seed, case), folder)
        return "taken", ""
    except REFUSALS as error:
        message = error.detail if isinstance(error, SkipError) else str(error)
        clear = len(message) >= _SHORTEST_MESSAGE or isinstance(error, SkipError)
        return ("refused" if clear else "crash"), f"{type(error).__name__}: {message}"
    except TakenSilentlyError as error:
        return "silent", str(error)
    except Exception:
        return "crash", traceback.format_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(drill: Drill, seed: int, link: Connection) -> None:
    while (case := link.recv()) is not None:
        link.send(judge(drill, seed, case))


def run(
    drill: Drill, cases: int, seed: int, limit_s: float = LIMIT_S, start_s: float = START_S
) -> Row:
    """Judges cases 0 to ``cases`` - 1 of a drill, one after the other in another process.

    Args:
      drill: what is judged.
      cases: how many.
      seed: of all of them.
      limit_s: longest time of a case.
      start_s: added for the first case of a process, which imports and makes what is damaged.
    """
    row, begin = Row(drill.name, cases), time.monotonic()
    context = multiprocessing.get_context("spawn")
    process = link = None
    for case in range(cases):
        if process is None:
            link, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(drill, seed, theirs), daemon=True)
            process.start()
            theirs.close()
            limit = limit_s + start_s
        assert link is not None
        link.send(case)
        verdict, message = "hang", f"no answer in {limit:g} s"
        try:
            if link.poll(limit):
                verdict, message = link.recv()
        except EOFError:
            process.join()
            verdict, message = "crash", f"the process died, exit code {process.exitcode}"
        limit = limit_s
        if verdict == "taken":
            row.taken += 1
        elif verdict == "refused":
            row.refused += 1
        else:
            row.failures[case] = f"{verdict}: {message}"
            if not process.is_alive() or verdict == "hang":
                process.kill()
                process.join()
                process = None
    if process is not None and link is not None:
        link.send(None)
        process.join()
    row.seconds = time.monotonic() - begin
    return row


def damage(rng: np.random.Generator, content: bytes) -> bytes:
    """Content cut, emptied, with flipped bits, zeroed in part, or replaced; never the same."""
    changed = bytearray(content)
    kind = rng.integers(5) if content else 4
    at = int(rng.integers(max(1, len(content))))
    if kind == 0:
        changed = changed[:at]
    elif kind == 1:
        changed = bytearray()
    elif kind == 2:
        for place in rng.integers(0, len(content), int(rng.integers(1, 8))):
            changed[place] ^= 1 << int(rng.integers(8))
    elif kind == 3:
        length = min(int(rng.integers(1, 4096)), len(content) - at)
        changed[at : at + length] = bytes(length)
    if kind == 4 or bytes(changed) == content:
        changed = bytearray(rng.bytes(int(rng.integers(1, 256))))
    return bytes(changed)
