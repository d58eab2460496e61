"""When tokens come, in the time of the audio, and how fast the recognizer computes.

A token emitted at encoder frame ``t`` needs the audio up to the end of that frame. Streamed in
chunks, it can be shown once its chunk is complete; a stream that ends inside a chunk completes it.
There are no word alignments, so emission is measured against the end of the audio, and between
two systems that said the same words.
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
    """Median and tail of a distribution over utterances; NaN when there are none.

    Attributes:
      p50: median.
      p90: 90th percentile.
    """

    p50: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Percentiles":
        """Of some values."""
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
    """Milliseconds of audio heard when each token could be emitted, at most ``audio_ms``.

    Args:
      emission_frames: encoder frame of each token.
      encoder_frame_ms: audio that an encoder frame advances.
      audio_ms: length of the utterance.
      chunk_ms: audio that arrives at once; None for the model's own time, as if it came a frame at
        a time.
    """
    step = encoder_frame_ms if chunk_ms is None else chunk_ms
    frame_ends = (np.asarray(emission_frames) + 1) * encoder_frame_ms
    # The tolerance keeps a frame that ends with its chunk in it: 3 * 0.1 / 0.3 is above 1.
    arrivals = np.ceil(frame_ends / step - 1e-9) * step
    return np.minimum(arrivals, audio_ms)


def emission_delays_ms(
    baseline_tokens: Sequence[Sequence[int]],
    baseline_times_ms: Sequence[Sequence[float]],
    system_tokens: Sequence[Sequence[int]],
    system_times_ms: Sequence[Sequence[float]],
) -> list[float]:
    """How much later the system emits each token than the baseline, where both said the same.

    Only utterances with equal token sequences are compared; one value a token, negative = earlier.
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
    """Computing time over audio time, compilation and warm-up left out.

    Attributes:
      median: of the repeats.
      low: fastest repeat.
      high: slowest repeat.
      audio_s: seconds of audio computed in one repeat.
      repeats: timed runs.
    """

    median: float
    low: float
    high: float
    audio_s: float
    repeats: int


def measure_real_time_factor(
    run: Callable[[], Any], audio_s: float, repeats: int = 5, warmup: int = 1
) -> RealTimeFactor:
    """Times ``run``, which decodes ``audio_s`` seconds and returns arrays to wait for.

    Raises:
      ValueError: there is no audio.
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
