"""Emission latency in audio time, and the real-time factor of the computation.

A token emitted at encoder frame ``t`` requires the audio up to the end of that frame. In a chunked
stream it is available when its chunk is complete or the stream ends. There are no word alignments,
so emission times are reported relative to the end of the audio, and delays between two systems that
emit the same tokens.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from rnnt_qat.typing import Float, Int


@dataclasses.dataclass(frozen=True)
class Percentiles:
    """Median and tail of a distribution over utterances; NaN if it is empty.

    Attributes:
      p50: median.
      p90: 90th percentile.
    """

    p50: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Percentiles":
        """Computes the percentiles of ``values``."""
        if len(values) == 0:
            return cls(float("nan"), float("nan"))
        p50, p90 = np.percentile(np.asarray(values, np.float64), [50, 90])
        return cls(float(p50), float(p90))


def emission_times_ms(
    emission_frames: Sequence[int] | Int[np.ndarray, "U"],
    encoder_frame_ms: float,
    audio_ms: float,
    chunk_ms: float | None = None,
) -> Float[np.ndarray, "U"]:
    """Computes the amount of audio received when each token can be emitted.

    Args:
      emission_frames: encoder frame of each token.
      encoder_frame_ms: hop of an encoder frame in milliseconds.
      audio_ms: length of the utterance in milliseconds.
      chunk_ms: duration of a chunk in milliseconds; None is one encoder frame per chunk, which
        gives the latency of the model alone.

    Returns:
      Milliseconds from the start of the utterance, at most ``audio_ms``.
    """
    step = encoder_frame_ms if chunk_ms is None else chunk_ms
    frame_ends = (np.asarray(emission_frames) + 1) * encoder_frame_ms
    # The tolerance keeps a frame that ends with its chunk in that chunk: in floating point,
    # 3 * 0.1 / 0.3 exceeds 1.
    arrivals = np.ceil(frame_ends / step - 1e-9) * step
    return np.minimum(arrivals, audio_ms)


def emission_delays_ms(
    baseline_tokens: Sequence[Sequence[int]],
    baseline_times_ms: Sequence[Sequence[float]],
    system_tokens: Sequence[Sequence[int]],
    system_times_ms: Sequence[Sequence[float]],
) -> list[float]:
    """Computes the emission delay of each token relative to a baseline.

    Only utterances with equal token sequences are compared.

    Args:
      baseline_tokens: tokens of the baseline, per utterance.
      baseline_times_ms: emission time of each of these tokens, in milliseconds.
      system_tokens: tokens of the system, for the same utterances.
      system_times_ms: emission time of each of these tokens, in milliseconds.

    Returns:
      One delay per token in milliseconds; negative if the system emits it earlier.
    """
    delays: list[float] = []
    for a, a_times, b, b_times in zip(
        baseline_tokens, baseline_times_ms, system_tokens, system_times_ms, strict=True
    ):
        if list(a) == list(b):
            delays += (np.asarray(b_times) - np.asarray(a_times)).tolist()
    return delays


@dataclasses.dataclass(frozen=True)
class RealTimeFactor:
    """Processing time divided by audio time, without compilation and warm-up.

    Attributes:
      median: median of the repeats.
      low: fastest repeat.
      high: slowest repeat.
      audio_s: seconds of audio processed in one repeat.
      repeats: number of timed runs.
    """

    median: float
    low: float
    high: float
    audio_s: float
    repeats: int


def measure_real_time_factor(
    run: Callable[[], Any], audio_s: float, repeats: int = 5, warmup: int = 1
) -> RealTimeFactor:
    """Measures the real-time factor of a computation.

    Args:
      run: processes ``audio_s`` seconds of audio; returns the arrays to wait for, because JAX
        dispatches asynchronously.
      audio_s: seconds of audio, positive.
      repeats: number of timed runs.
      warmup: number of runs before, which include the compilation.

    Raises:
      ValueError: ``audio_s`` is not positive.
    """
    if audio_s <= 0:
        raise ValueError(f"a real-time factor needs audio, got {audio_s} s")
    for _ in range(warmup):
        jax.block_until_ready(run())
    factors = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        factors.append((time.perf_counter() - start) / audio_s)
    return RealTimeFactor(float(np.median(factors)), min(factors), max(factors), audio_s, repeats)
