"""Synthetic room impulse responses and the telephone band."""

import functools

import numpy as np
import scipy
from jaxtyping import Float32

from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ

TELEPHONE_BAND_HZ = (300.0, 3400.0)


def room_response(
    rng: np.random.Generator, reverberation_s: float, direct_to_reverberant_db: float
) -> Float32[np.ndarray, "N"]:
    """Draws a room impulse response: direct sound, a few reflections and a noise-like tail.

    The tail is Gaussian noise that decays by 60 dB in `reverberation_s` (Polack's statistical
    model), from 2 ms on; reflections are six single samples in the first 40 ms.

    Args:
      rng: random generator.
      reverberation_s: reverberation time T60 in seconds.
      direct_to_reverberant_db: ratio of the energies of the direct sound and the rest in dB.

    Returns:
      float32 response; the first sample is the direct sound and equals 1.
    """
    length = int(reverberation_s * SAMPLE_RATE_HZ)
    time_s = np.arange(length) / SAMPLE_RATE_HZ
    envelope = 10 ** (-3 * time_s / reverberation_s)
    tail = rng.standard_normal(length) * envelope
    tail[: int(0.002 * SAMPLE_RATE_HZ)] = 0
    early = rng.integers(int(0.002 * SAMPLE_RATE_HZ), int(0.04 * SAMPLE_RATE_HZ), 6)
    tail[early] += rng.choice([-1.0, 1.0], 6) * 6 * envelope[early]
    energy = 10 ** (-direct_to_reverberant_db / 10)
    response = tail * np.sqrt(energy / np.sum(tail**2))
    response[0] = 1.0
    return response.astype(np.float32)


def reverberate(
    audio: Float32[np.ndarray, "N"], response: Float32[np.ndarray, "R"]
) -> Float32[np.ndarray, "N"]:
    """Convolves the audio with `response`, truncated to the length of the audio."""
    return scipy.signal.fftconvolve(audio, response)[: len(audio)].astype(np.float32)


def telephone_band(audio: Float32[np.ndarray, "N"]) -> Float32[np.ndarray, "N"]:
    """Filters to the telephone band: fourth-order Butterworth band pass, 300 to 3400 Hz."""
    return scipy.signal.sosfilt(_telephone_filter(), audio).astype(np.float32)


@functools.cache
def _telephone_filter() -> np.ndarray:
    return scipy.signal.butter(
        4, TELEPHONE_BAND_HZ, "bandpass", fs=SAMPLE_RATE_HZ, output="sos"
    ).astype(np.float32)
