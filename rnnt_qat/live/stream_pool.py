"""Streams that share batched models: admission, buffers, and one step for all that have audio."""

import asyncio
import collections
import concurrent.futures
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnt_qat.decoding.live_driver import SEGMENT_END
from rnnt_qat.experiment.transcriber import DecodedChunk, Transcript, TranscriptBuilder
from rnnt_qat.infra.errors import UserError
from rnnt_qat.live.batch_engine import BatchEngine, Chunk
from rnnt_qat.typing import Int


class FullError(UserError):
    """All rows are taken: one more stream could not be held at real time."""


class StreamLimitError(UserError):
    """A stream sent more than it may."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes:
      streams: streams at the same time; more are refused.
      stream_s: seconds of audio of one stream.
      buffered_s: seconds of audio that a stream may be ahead of its recognition; a faster sender
        is made to wait.
      idle_s: seconds without audio after which a stream is ended.
      message_bytes: bytes of one message.
    """

    streams: int = 8
    stream_s: float = 3600.0
    buffered_s: float = 4.0
    idle_s: float = 30.0
    message_bytes: int = 1 << 20


class Stream:
    """One stream: its buffered audio, and the results that were not fetched yet."""

    def __init__(self, row: int, builders: Mapping[str, TranscriptBuilder]):
        self.row = row
        self.builders = builders
        self.results: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.room = asyncio.Event()  # set while the sender may send
        self.room.set()
        self.audio = np.zeros(0, np.int16)
        self.received = 0
        self.taken = 0
        self.begun = False
        self.ended = False
        self.done = False
        # Wall times at which the samples up to a count had arrived, for latencies.
        self.arrivals: collections.deque[tuple[int, float]] = collections.deque()

    def arrived_s(self, samples: int) -> float:
        """Returns the wall time at which the first ``samples`` samples had arrived."""
        while len(self.arrivals) > 1 and self.arrivals[0][0] < samples:
            self.arrivals.popleft()
        return self.arrivals[0][1] if self.arrivals else time.perf_counter()


class StreamPool:
    """Batched recognition of streams by one or several models.

    One thread computes. Whenever it is free, it takes the next chunk of every stream that has one.

    Args:
      engines: engines by name of the model, of one sample rate, chunk and number of rows.
      limits: limits of the server.
    """

    def __init__(self, engines: Mapping[str, BatchEngine], limits: Limits):
        self.engines, self.limits = engines, limits
        first = next(iter(engines.values()))
        self.chunk_samples, self.sample_rate_hz = first.chunk_samples, first.sample_rate_hz
        self._free = list(range(first.rows))[::-1]
        self._streams: dict[int, Stream] = {}
        self._work = asyncio.Event()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "recognition")
        self._task: asyncio.Task | None = None

    def start(self) -> None:
        """Begins to compute; to be called in the event loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends the computation."""
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def open(self) -> Stream:
        """Admits a stream.

        Raises:
          FullError: if there are as many streams as allowed.
          RuntimeError: if the computation has failed.
        """
        if self._task is not None and self._task.done():
            raise RuntimeError("the recognition has failed") from self._task.exception()
        if not self._free:
            raise FullError(
                f"all {self.limits.streams} streams of this server are taken; try again later"
            )
        row = self._free.pop()
        builders = {
            name: TranscriptBuilder(engine.piece, engine.frame_s)
            for name, engine in self.engines.items()
        }
        self._streams[row] = Stream(row, builders)
        return self._streams[row]

    def feed(self, stream: Stream, audio: Int[np.ndarray, "N"]) -> None:
        """Appends int16 samples to a stream.

        Raises:
          StreamLimitError: if the stream becomes longer than allowed.
        """
        stream.received += len(audio)
        if stream.received > self.limits.stream_s * self.sample_rate_hz:
            raise StreamLimitError(f"a stream may last {self.limits.stream_s:g} s")
        stream.audio = np.concatenate([stream.audio, audio])
        stream.arrivals.append((stream.received, time.perf_counter()))
        if len(stream.audio) > self.limits.buffered_s * self.sample_rate_hz:
            stream.room.clear()
        self._work.set()

    def end(self, stream: Stream) -> None:
        """Ends a stream; its last results follow, and then None."""
        stream.ended = True
        self._work.set()

    def drop(self, stream: Stream) -> None:
        """Frees a stream's row; its results are discarded."""
        if self._streams.get(stream.row) is stream:
            del self._streams[stream.row]
            self._free.append(stream.row)
        stream.done = True

    async def _run(self) -> None:
        try:
            await self._compute_for_ever()
        except Exception:
            for stream in self._streams.values():
                stream.results.put_nowait(None)
            raise

    async def _compute_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._work.wait()
            self._work.clear()
            while chunks := self._next_chunks():
                streams = {row: self._streams[row] for row in chunks}
                heard, wall_s = await loop.run_in_executor(self._thread, self._compute, chunks)
                now = time.perf_counter()
                for row, stream in streams.items():
                    # A row that was dropped meanwhile may already belong to another stream.
                    if not stream.done:
                        self._deliver(stream, chunks[row], heard, wall_s, now)

    def _next_chunks(self) -> dict[int, Chunk]:
        """Takes the next chunk of every stream that has one."""
        chunks = {}
        for row, stream in self._streams.items():
            whole = len(stream.audio) >= self.chunk_samples
            if stream.done or not (whole or stream.ended):
                continue
            audio, stream.audio = np.split(stream.audio, [self.chunk_samples])
            last = stream.ended and not len(stream.audio)
            chunks[row] = Chunk(audio, not stream.begun, last)
            stream.begun = True
            stream.taken += len(audio)
            if len(stream.audio) <= self.limits.buffered_s * self.sample_rate_hz:
                stream.room.set()
        return chunks

    def _compute(
        self, chunks: Mapping[int, Chunk]
    ) -> tuple[dict[str, dict[int, Sequence[DecodedChunk]]], dict[str, float]]:
        """Runs every model on the chunks; returns what each recognised, and its wall time."""
        heard, wall_s = {}, {}
        for name, engine in self.engines.items():
            began = time.perf_counter()
            heard[name] = engine.step(chunks)
            wall_s[name] = time.perf_counter() - began
        return heard, wall_s

    def _deliver(
        self,
        stream: Stream,
        chunk: Chunk,
        heard: Mapping[str, Mapping[int, Sequence[DecodedChunk]]],
        wall_s: Mapping[str, float],
        now: float,
    ) -> None:
        seconds = stream.taken / self.sample_rate_hz
        waited = now - stream.arrived_s(stream.taken)
        for name, rows in heard.items():
            engine = self.engines[name]
            results = rows[stream.row]
            for number, result in enumerate(results, 1):
                at_end = chunk.last and number == len(results)
                transcripts = stream.builders[name].add(result, seconds, at_end)
                stream.results.put_nowait(
                    {
                        "model": name,
                        "seconds": round(seconds, 3),
                        "latency_ms": round(1000 * waited, 2),
                        "compute_ms": round(1000 * wall_s[name], 2),
                        "batch": len(rows),
                        "tokens": _shown(result.final, engine),
                        "pending": _shown(result.pending, engine),
                        "transcripts": [_json(t) for t in transcripts],
                    }
                )
        if chunk.last:
            stream.results.put_nowait(None)
            self.drop(stream)


def _shown(tokens: Sequence[tuple[int, int, float]], engine: BatchEngine) -> list[list[Any]]:
    """Returns pieces with the milliseconds of audio at whose end they were emitted."""
    return [
        [engine.piece(label), round(1000 * (frame + 1) * engine.frame_s)]
        for label, frame, _ in tokens
        if label != SEGMENT_END
    ]


def _json(transcript: Transcript) -> dict[str, Any]:
    return {
        "words": [[w.text, round(w.start_s, 3), round(w.end_s, 3)] for w in transcript.words],
        "pending": transcript.pending,
        "final": transcript.final,
        "start_s": round(transcript.start_s, 3),
        "end_s": round(transcript.end_s, 3),
    }
