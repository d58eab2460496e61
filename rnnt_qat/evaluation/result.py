"""Evaluation results: one record per utterance, and metrics computed from them."""

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
      id: name of the utterance in the corpus.
      reference: reference transcript.
      hypothesis: recognised transcript.
      words: counts of word errors.
      characters: counts of character errors.
      tokens: recognised tokens.
      pieces: text of each token.
      emission_frames: encoder frame at which each token was emitted.
      log_prob: natural log-probability of the hypothesis, as defined by its search.
      overflow: number of tokens dropped because the hypothesis was full.
      audio_s: duration of the audio in seconds.
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
      test_set: name of the test set.
      system: name of the decoding system (a precision policy, a checkpoint), for comparisons.
      search: the search's options as text.
      chunk_ms: audio per chunk in milliseconds; None for whole utterances.
      encoder_frame_ms: frame shift of the encoder in milliseconds.
      utterances: decoded utterances in the order of the test set.
      missing: number of utterances of the test set that were in no batch.
      bootstrap: config of the confidence intervals.
      real_time_factor: real-time factor of batched decoding; None if it was not measured.
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
        """Counts of word errors over the test set."""
        return ErrorCounts.total(u.words for u in self.utterances)

    @functools.cached_property
    def characters(self) -> ErrorCounts:
        """Counts of character errors over the test set."""
        return ErrorCounts.total(u.characters for u in self.utterances)

    @functools.cached_property
    def wer(self) -> Interval:
        """Word error rate, as a fraction, with its interval."""
        return error_rate_interval([u.words for u in self.utterances], self.bootstrap)

    @functools.cached_property
    def cer(self) -> Interval:
        """Character error rate, as a fraction, with its interval."""
        return error_rate_interval([u.characters for u in self.utterances], self.bootstrap)

    @property
    def utterance_error_rate(self) -> float:
        """Fraction of utterances with at least one error."""
        return sum(u.words.errors > 0 for u in self.utterances) / len(self.utterances)

    @property
    def audio_s(self) -> float:
        """Duration of the decoded audio in seconds."""
        return sum(u.audio_s for u in self.utterances)

    @property
    def overflow(self) -> int:
        """Number of tokens dropped because a hypothesis was full."""
        return sum(u.overflow for u in self.utterances)

    def token_times_ms(self, utterance: UtteranceResult, *, chunked: bool = False) -> list[float]:
        """Returns the milliseconds of audio processed when each token was emitted.

        Args:
          utterance: one of ``utterances``.
          chunked: whether to include the wait for the end of the chunk.
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
        """Milliseconds of audio received at the first token, including the wait for its chunk."""
        return Percentiles.of(
            [self.token_times_ms(u, chunked=True)[0] for u in self.utterances if u.tokens]
        )

    @functools.cached_property
    def first_token_emitted_ms(self) -> Percentiles:
        """Milliseconds of audio received at the first token, for frame-by-frame processing."""
        return Percentiles.of([self.token_times_ms(u)[0] for u in self.utterances if u.tokens])

    @functools.cached_property
    def last_token_to_end_ms(self) -> Percentiles:
        """Milliseconds, >= 0, from the last token's emission, unchunked, to the audio's end."""
        return Percentiles.of(
            [1000 * u.audio_s - self.token_times_ms(u)[-1] for u in self.utterances if u.tokens]
        )

    def metrics(self) -> Iterator[tuple[str, float]]:
        """Yields the names and values of the test set's metrics, for records."""
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
