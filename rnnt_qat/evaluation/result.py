"""What an evaluation found: a record an utterance, and what follows from them."""

import dataclasses
import functools
from collections.abc import Iterator

from rnnt_qat.metrics.bootstrap import BootstrapConfig, Interval, error_rate_interval
from rnnt_qat.metrics.latency import Percentiles, RealTimeFactor, emission_times_ms
from rnnt_qat.metrics.wer import ErrorCounts


@dataclasses.dataclass(frozen=True)
class UtteranceResult:
    """One decoded utterance.

    Attributes:
      id: its name in the corpus.
      reference: what was said.
      hypothesis: what was recognised.
      words: word errors.
      characters: character errors.
      tokens: recognised tokens.
      pieces: text of each token.
      emission_frames: encoder frame at which each token was emitted.
      log_prob: natural log-probability of the hypothesis, as its search defines it.
      overflow: tokens emitted after the hypothesis was full, and lost.
      audio_s: seconds of audio.
    """

    id: str
    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts
    tokens: tuple[int, ...]
    pieces: tuple[str, ...]
    emission_frames: tuple[int, ...]
    log_prob: float
    overflow: int
    audio_s: float


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """A decoded test set.

    Attributes:
      test_set: name of what was decoded.
      system: name of what decoded it (a precision policy, a checkpoint), for comparisons.
      search: the search's options, in words.
      chunk_ms: audio that arrived at once; None for whole utterances.
      encoder_frame_ms: audio that an encoder frame advances.
      utterances: in the order of the test set.
      missing: utterances of the test set that never came in a batch.
      bootstrap: how the intervals are drawn.
      real_time_factor: of the batched decoding, if it was measured.
    """

    test_set: str
    system: str
    search: str
    chunk_ms: float | None
    encoder_frame_ms: float
    utterances: tuple[UtteranceResult, ...]
    missing: int = 0
    bootstrap: BootstrapConfig = dataclasses.field(default_factory=BootstrapConfig)
    real_time_factor: RealTimeFactor | None = None

    @functools.cached_property
    def words(self) -> ErrorCounts:
        """Word errors of the test set."""
        return ErrorCounts.total(u.words for u in self.utterances)

    @functools.cached_property
    def characters(self) -> ErrorCounts:
        """Character errors of the test set."""
        return ErrorCounts.total(u.characters for u in self.utterances)

    @functools.cached_property
    def wer(self) -> Interval:
        """Word error rate."""
        return error_rate_interval([u.words for u in self.utterances], self.bootstrap)

    @functools.cached_property
    def cer(self) -> Interval:
        """Character error rate."""
        return error_rate_interval([u.characters for u in self.utterances], self.bootstrap)

    @property
    def utterance_error_rate(self) -> float:
        """Share of the utterances that are not recognised to the letter: of phrases, commands."""
        return sum(u.words.errors > 0 for u in self.utterances) / len(self.utterances)

    @property
    def audio_s(self) -> float:
        """Seconds of audio decoded."""
        return sum(u.audio_s for u in self.utterances)

    @property
    def overflow(self) -> int:
        """Tokens lost because a hypothesis was full."""
        return sum(u.overflow for u in self.utterances)

    def token_times_ms(self, utterance: UtteranceResult, *, chunked: bool = False) -> list[float]:
        """Milliseconds of audio heard when each token could be emitted.

        Args:
          utterance: one of ``utterances``.
          chunked: count the wait for the end of a chunk too, else the model's own time.
        """
        chunk_ms = self.chunk_ms if self.chunk_ms is not None else 1000 * utterance.audio_s
        return emission_times_ms(
            utterance.emission_frames,
            self.encoder_frame_ms,
            1000 * utterance.audio_s,
            chunk_ms if chunked else None,
        ).tolist()

    @functools.cached_property
    def first_token_ms(self) -> Percentiles:
        """Audio heard when the first token of an utterance could be shown, chunks awaited."""
        return Percentiles.of(
            [self.token_times_ms(u, chunked=True)[0] for u in self.utterances if u.tokens]
        )

    @functools.cached_property
    def first_token_emitted_ms(self) -> Percentiles:
        """Audio heard when the model emitted the first token, as if it came a frame at a time."""
        return Percentiles.of([self.token_times_ms(u)[0] for u in self.utterances if u.tokens])

    @functools.cached_property
    def last_token_to_end_ms(self) -> Percentiles:
        """From the last token's emission (model's own time) to the end of the audio, at least 0."""
        return Percentiles.of(
            [1000 * u.audio_s - self.token_times_ms(u)[-1] for u in self.utterances if u.tokens]
        )

    def metrics(self) -> Iterator[tuple[str, float]]:
        """The figures of the whole test set, for curves and logs."""
        length = max(self.words.reference_length, 1)
        yield "wer", self.wer.value
        yield "wer_low", self.wer.low
        yield "wer_high", self.wer.high
        yield "cer", self.cer.value
        yield "utterance_error_rate", self.utterance_error_rate
        yield "substitution_rate", self.words.substitutions / length
        yield "deletion_rate", self.words.deletions / length
        yield "insertion_rate", self.words.insertions / length
        yield "overflow_tokens", float(self.overflow)
        if any(u.tokens for u in self.utterances):
            yield "first_token_ms_p50", self.first_token_ms.p50
            yield "last_token_to_end_ms_p50", self.last_token_to_end_ms.p50
        if self.real_time_factor is not None:
            yield "real_time_factor", self.real_time_factor.median
