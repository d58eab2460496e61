"""Decodes, checks and encodes recordings, in processes and bounded in memory.

One recording never stops a corpus: whatever its decoder raises, and even the death of the process
that decodes it, leaves out that recording alone. Faults of the machine (a full disk, no memory) are
raised: they would leave out everything.
"""

import collections
import concurrent.futures
import dataclasses
import errno
import functools
import itertools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jaxtyping import Int16

from data.audio import Limits, encode_flac
from data.skips import Cause, SkipError

CHUNK = 16
"""Recordings handed to a worker process at once."""

_MACHINE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording that a corpus lists, before anything is decoded.

    Attributes:
      id: unique within its split.
      speaker: unique within the corpus.
      text: normalised transcript.
      decode: picklable; returns the samples at 16 kHz or raises `SkipError`. Called in a worker.
    """

    id: str
    speaker: str
    text: str
    decode: Callable[[], Int16[np.ndarray, " N"]]


@dataclasses.dataclass(frozen=True)
class Encoded:
    """What a worker makes of a recording: FLAC, or the error that keeps it out."""

    id: str
    speaker: str
    text: str
    num_samples: int = 0
    flac: bytes = b""
    error: SkipError | None = None


def encode_all(
    recordings: Iterable[Recording], limits: Limits, workers: int = 1
) -> Iterator[Encoded]:
    """Encodes in order, holding at most two chunks a worker.

    Args:
      recordings: what to encode.
      limits: what a recording must be to be kept.
      workers: processes; 1 encodes in this one, which a crashing decoder then ends.
    """
    chunks = iter(functools.partial(_take, iter(recordings)), [])
    if workers == 1:
        for chunk in chunks:
            yield from _encode(chunk, limits)
        return
    pending: collections.deque[tuple[list[Recording], concurrent.futures.Future]] = (
        collections.deque()
    )
    pool = _make_pool(workers)
    try:
        while True:
            while len(pending) < 2 * workers and (chunk := next(chunks, [])):
                pending.append((chunk, _submit(pool, chunk, limits)))
            if not pending:
                return
            chunk, future = pending.popleft()
            try:
                encoded = future.result()
            except concurrent.futures.BrokenExecutor:
                # Every chunk that the pool held is lost; only one of them holds the recording that
                # ends its process. This chunk goes one by one, the others to new processes.
                pool.shutdown(cancel_futures=True)
                encoded = [_encode_alone(recording, limits) for recording in chunk]
                pool = _make_pool(workers)
                pending = collections.deque(
                    (other, _submit(pool, other, limits)) for other, _ in pending
                )
            yield from encoded
    finally:
        pool.shutdown(cancel_futures=True)


def _take(recordings: Iterator[Recording]) -> list[Recording]:
    return list(itertools.islice(recordings, CHUNK))


def _make_pool(workers: int) -> concurrent.futures.ProcessPoolExecutor:
    context = multiprocessing.get_context("forkserver")  # threads run here: no plain fork
    return concurrent.futures.ProcessPoolExecutor(workers, context)


def _submit(
    pool: concurrent.futures.Executor, chunk: list[Recording], limits: Limits
) -> concurrent.futures.Future:
    try:
        return pool.submit(_encode, chunk, limits)
    except concurrent.futures.BrokenExecutor as error:  # it broke since: as if it had been in it
        future: concurrent.futures.Future = concurrent.futures.Future()
        future.set_exception(error)
        return future


def _encode_alone(recording: Recording, limits: Limits) -> Encoded:
    """Encodes in a process of its own, whose death is the recording's fault."""
    with _make_pool(1) as pool:
        try:
            return pool.submit(_encode, [recording], limits).result()[0]
        except concurrent.futures.BrokenExecutor:
            error = SkipError(Cause.DECODER_FAILED, "the process that decoded it died")
            return Encoded(recording.id, recording.speaker, recording.text, error=error)


def _encode(recordings: list[Recording], limits: Limits) -> list[Encoded]:
    encoded = []
    for recording in recordings:
        fields = (recording.id, recording.speaker, recording.text)
        try:
            audio = recording.decode()
            limits.check(audio, recording.text)
            encoded.append(Encoded(*fields, len(audio), encode_flac(audio)))
        except SkipError as error:
            encoded.append(Encoded(*fields, error=error))
        except MemoryError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _MACHINE_FAULTS:
                raise
            reason = SkipError(Cause.DECODER_FAILED, f"{type(error).__name__}: {error}")
            encoded.append(Encoded(*fields, error=reason))
    return encoded
