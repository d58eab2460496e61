"""Live transcription: audio in as it comes, words and segments out, for as long as it comes."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from rnnt_qat.decoding.live_driver import SEGMENT_END
from rnnt_qat.decoding.words import Word, WordBuilder
from rnnt_qat.typing import Int

Token = tuple[int, int, float]
"""Label (or ``SEGMENT_END``), emission frame and log-probability; see ``Emitted``."""


@dataclasses.dataclass(frozen=True)
class Heard:
    """What a chunk of audio made of a stream.

    Attributes:
      final: tokens that will not change, and ends of segments.
      pending: tokens after these that the next chunk may change.
      alternatives: of each segment that ended, hypotheses and their log-probabilities, the best one
        first; empty where none were asked for.
    """

    final: Sequence[Token]
    pending: Sequence[Token] = ()
    alternatives: Sequence[Sequence[tuple[Sequence[int], float]]] = ()


class Engine(Protocol):
    """What recognizes one stream: a model in JAX, or an artefact's player.

    Attributes:
      chunk_samples: samples of a chunk.
      sample_rate_hz: rate of the audio that it takes.
      frame_s: seconds of an encoder frame.
    """

    chunk_samples: int
    sample_rate_hz: int
    frame_s: float

    def start(self) -> None:
        """Before the first sample of a new stream."""

    def push(self, audio: Int[np.ndarray, "N"]) -> Heard:
        """The next chunk of int16 samples; only the last one may be shorter."""

    def end(self) -> Heard:
        """The rest after the last chunk, its last segment's end included."""

    def piece(self, label: int) -> str:
        """Text of a label, a space where a word starts."""


@dataclasses.dataclass(frozen=True)
class Alternative:
    """Another reading of a segment.

    Attributes:
      text: what it says.
      log_prob: natural log-probability that the search gave it.
    """

    text: str
    log_prob: float


@dataclasses.dataclass(frozen=True)
class Transcript:
    """What a chunk of audio told.

    Attributes:
      words: words of the segment that are final since the last transcript.
      pending: text after all final words of the segment; may still change.
      seconds: audio heard.
      final: whether the segment is over.
      start_s: the segment's first second.
      end_s: where it is over, its last second.
      alternatives: readings of a segment that is over, the best one first, if they were asked for.
    """

    words: tuple[Word, ...]
    pending: str
    seconds: float
    final: bool
    start_s: float
    end_s: float
    alternatives: tuple[Alternative, ...] = ()


class LiveTranscriber:
    """Transcribes one stream at a time; it keeps nothing that is final.

    Args:
      engine: what recognizes.
    """

    def __init__(self, engine: Engine):
        self._engine = engine
        self.chunk_samples = engine.chunk_samples
        self.sample_rate_hz = engine.sample_rate_hz

    def transcribe(self, pieces: Iterable[Int[np.ndarray, "N"]]) -> Iterator[Transcript]:
        """Transcripts of a stream: one a chunk, and one for each segment that is over.

        The last one is final. Segments without words are left out, but for a stream's only one.

        Args:
          pieces: int16 samples, in pieces of any length.
        """
        engine = self._engine
        engine.start()
        segments = _Segments(engine)
        samples = 0
        for chunk in _chunks(pieces, self.chunk_samples):
            samples += len(chunk)
            yield from segments.hear(engine.push(chunk), samples / self.sample_rate_hz, False)
        yield from segments.hear(engine.end(), samples / self.sample_rate_hz, True)


class _Segments:
    """The segment of a stream that is open."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self._words = WordBuilder(engine.piece, engine.frame_s)
        self._began = 0.0
        self._spoken = False  # words of the segment have been given out
        self._told = False  # a segment has been given out

    def hear(self, heard: Heard, seconds: float, last: bool) -> Iterator[Transcript]:
        alternatives = iter(heard.alternatives)
        words: list[Word] = []
        for token in heard.final:
            if token[0] != SEGMENT_END:
                words += self._words.add([token])
                continue
            words += self._words.end()
            end = round(min(token[1] * self._engine.frame_s, seconds), 6)
            others = tuple(
                Alternative(self._text(tokens), log_prob)
                for tokens, log_prob in next(alternatives, ())
            )
            if words or self._spoken or (last and not self._told):
                yield Transcript(tuple(words), "", seconds, True, self._began, end, others)
                self._told = True
            words, self._began, self._spoken = [], end, False
        if not last:
            self._spoken |= bool(words)
            pending = " ".join(word.text for word in self._words.with_more(heard.pending))
            yield Transcript(tuple(words), pending, seconds, False, self._began, seconds)

    def _text(self, tokens: Sequence[int]) -> str:
        return " ".join("".join(map(self._engine.piece, tokens)).split())


def _chunks(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples in pieces of ``size``, the last one shorter."""
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
