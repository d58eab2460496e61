"""Parallel decoding, checking and encoding of recordings in bounded memory.

A single recording never stops a preparation: any exception of its decoder, and even a crash of the
decoding process, skips only that recording. Faults of the machine (disk full, out of memory) are
raised, because they would otherwise skip all recordings.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jaxtyping import Int16

from data.audio import Limits, encode_flac
from data.skips import Cause, SkipError
from rnnt_qat.infra.errors import is_machine_fault

CHUNK = 16
"""Number of recordings per task of a worker process."""


@dataclasses.dataclass(frozen=True)
class Recording:
    """A listed recording that has not been decoded.

    Attributes:
      id: id, unique within the split.
      speaker: name of the speaker, unique within the corpus.
      text: normalised transcript.
      decode: picklable function, called in a worker; returns the samples at 16 kHz or raises
        `SkipError`.
    """

    id: str
    speaker: str
    text: str
    decode: Callable[[], Int16[np.ndarray, " N"]]


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Result of a worker for a recording: FLAC, or the error for which it is skipped.

    Attributes:
      id: id of the recording.
      speaker: name of the speaker.
      text: normalised transcript.
      num_samples: length of the audio in samples.
      flac: encoded audio.
      error: cause of the skip; None if the recording is kept.
    """

    id: str
    speaker: str
    text: str
    num_samples: int = 0
    flac: bytes = b""
    error: SkipError | None = None


def encode_all(
    recordings: Iterable[Recording], limits: Limits, workers: int = 1
) -> Iterator[Encoded]:
    """Encodes recordings in order, with at most two chunks per worker in memory.

    Args:
      recordings: recordings to encode.
      limits: quality limits.
      workers: number of processes; 1 encodes in this process, which a crashing decoder terminates.
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
                # All chunks of the pool are lost, but only one of them has the recording that
                # crashed. Encode this chunk one by one and submit the others to a new pool.
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
    # Not "fork": forking a process with threads is not safe.
    context = multiprocessing.get_context("forkserver")
    return concurrent.futures.ProcessPoolExecutor(workers, context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Ends this process when the preparation dies.

    Otherwise the workers of a killed preparation wait for tasks forever: each holds the other's end
    of their queue open.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None  # a worker has one

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _submit(
    pool: concurrent.futures.Executor, chunk: list[Recording], limits: Limits
) -> concurrent.futures.Future:
    try:
        return pool.submit(_encode, chunk, limits)
    except concurrent.futures.BrokenExecutor as error:  # the pool broke before
        future: concurrent.futures.Future = concurrent.futures.Future()
        future.set_exception(error)
        return future


def _encode_alone(recording: Recording, limits: Limits) -> Encoded:
    """Encodes in a separate process; if it crashes, this recording is the cause."""
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
        except Exception as error:  # decoders raise their own
            if is_machine_fault(error):
                raise
            reason = SkipError(Cause.DECODER_FAILED, f"{type(error).__name__}: {error}")
            encoded.append(Encoded(*fields, error=reason))
    return encoded
