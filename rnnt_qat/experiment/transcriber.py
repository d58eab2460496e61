"""Live transcription of unbounded audio streams into words and segments."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from rnnt_qat.decoding.live_driver import SEGMENT_END
from rnnt_qat.decoding.words import Word, WordBuilder
from rnnt_qat.typing import Int

Token = tuple[int, int, float]
"""A label (or ``SEGMENT_END``), its emission frame and log-probability; see ``Emitted``."""


@dataclasses.dataclass(frozen=True)
class DecodedChunk:
    """The result of processing one chunk of a stream.

    Attributes:
      final: tokens that will not change, and ends of segments.
      pending: tokens after the final ones, which the next chunk may change.
      alternatives: for each segment that ended, hypotheses with their log-probabilities, best
        first; empty if alternatives were not requested.
    """

    final: Sequence[Token]
    pending: Sequence[Token] = ()
    alternatives: Sequence[Sequence[tuple[Sequence[int], float]]] = ()


class Engine(Protocol):
    """A streaming recognizer, either a JAX model or an artefact's player.

    Attributes:
      chunk_samples: samples per chunk.
      sample_rate_hz: sample rate of the input in Hz.
      frame_s: duration of an encoder frame in seconds.
    """

    chunk_samples: int
    sample_rate_hz: int
    frame_s: float

    def start(self) -> None:
        """Starts a new stream."""

    def push(self, audio: Int[np.ndarray, "N"]) -> DecodedChunk:
        """Processes the next chunk of int16 samples; only the last chunk may be shorter."""

    def end(self) -> DecodedChunk:
        """Returns the remaining tokens after the last chunk, including the last segment's end."""

    def piece(self, label: int) -> str:
        """Returns the text of a label, with a space where a word starts."""


@dataclasses.dataclass(frozen=True)
class Alternative:
    """An alternative hypothesis of a segment.

    Attributes:
      text: text of the hypothesis.
      log_prob: natural log-probability computed by the search.
    """

    text: str
    log_prob: float


@dataclasses.dataclass(frozen=True)
class Transcript:
    """The transcript of one chunk of audio within a segment.

    Attributes:
      words: words that became final since the previous transcript of the segment.
      pending: text after all final words of the segment, which may still change.
      seconds: seconds of audio processed.
      final: whether the segment has ended.
      start_s: start of the segment in seconds.
      end_s: end of the segment in seconds, if it has ended.
      alternatives: hypotheses of a segment that has ended, best first, if they were requested.
    """

    words: tuple[Word, ...]
    pending: str
    seconds: float
    final: bool
    start_s: float
    end_s: float
    alternatives: tuple[Alternative, ...] = ()


class LiveTranscriber:
    """A transcriber of one stream at a time, in memory independent of the stream's length.

    Args:
      engine: the streaming recognizer.
    """

    def __init__(self, engine: Engine):
        self._engine = engine
        self.chunk_samples = engine.chunk_samples
        self.sample_rate_hz = engine.sample_rate_hz

    def transcribe(self, pieces: Iterable[Int[np.ndarray, "N"]]) -> Iterator[Transcript]:
        """Yields the transcripts of a stream: one per chunk and one per segment that ends.

        The last transcript is final. Segments without words are omitted, unless a stream has only
        one segment.

        Args:
          pieces: int16 samples, in arrays of any length.
        """
        engine = self._engine
        engine.start()
        segments = TranscriptBuilder(engine.piece, engine.frame_s)
        samples = 0
        for chunk in _chunks(pieces, self.chunk_samples):
            samples += len(chunk)
            yield from segments.add(engine.push(chunk), samples / self.sample_rate_hz, False)
        yield from segments.add(engine.end(), samples / self.sample_rate_hz, True)


class TranscriptBuilder:
    """A builder of a stream's transcripts from what its engine recognises.

    Args:
      piece: returns the text of a label, with a space where a word starts.
      frame_s: duration of an encoder frame in seconds.
    """

    def __init__(self, piece: Callable[[int], str], frame_s: float):
        self._piece, self._frame_s = piece, frame_s
        self._words = WordBuilder(piece, frame_s)
        self._began = 0.0
        self._spoken = False  # whether words of the segment have been returned
        self._any_ended = False  # whether any segment has been returned

    def add(self, chunk: DecodedChunk, seconds: float, last: bool) -> Iterator[Transcript]:
        """Yields the transcripts that a chunk adds.

        Args:
          chunk: output of the engine for the chunk.
          seconds: seconds of audio processed.
          last: whether the stream has ended.
        """
        alternatives = iter(chunk.alternatives)
        words: list[Word] = []
        for token in chunk.final:
            if token[0] != SEGMENT_END:
                words += self._words.add([token])
                continue
            words += self._words.end()
            end = round(min(token[1] * self._frame_s, seconds), 6)
            others = tuple(
                Alternative(self._text(tokens), log_prob)
                for tokens, log_prob in next(alternatives, ())
            )
            if words or self._spoken or (last and not self._any_ended):
                yield Transcript(tuple(words), "", seconds, True, self._began, end, others)
                self._any_ended = True
            words, self._began, self._spoken = [], end, False
        if not last:
            self._spoken |= bool(words)
            pending = " ".join(word.text for word in self._words.with_more(chunk.pending))
            yield Transcript(tuple(words), pending, seconds, False, self._began, seconds)

    def _text(self, tokens: Sequence[int]) -> str:
        return " ".join("".join(map(self._piece, tokens)).split())


def _chunks(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Yields the samples in arrays of ``size`` samples; the last one may be shorter."""
    rest = np.zeros(0, np.int16)
    for piece in pieces:
        rest = np.concatenate([rest, piece])
        start = 0
        while len(rest) - start >= size:
            yield rest[start : start + size]
            start += size
        rest = rest[start:]
    if len(rest):
        yield rest
