"""Background noise: white to brown, and babble of the corpus' own voices."""

import functools

import numpy as np
import scipy.fft
from jaxtyping import Float32

from data.synthetic_speech.voices import load_voice
from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ

BABBLE_TALKERS = 5

_BABBLE_TEXT = (
    "they walked along the river until it was too dark to see the other bank.",
    "nobody knew how old the bridge was, or who had paid for the stone.",
    "she put the letters in a drawer and forgot them for nineteen years.",
    "if the rain stops before noon, we could still bring in the hay.",
    "he counted the sheep twice, and twice he counted one too many.",
    "there is a bakery behind the station that opens long before sunrise.",
)
"""Text of the background only; it contains no training sentence."""


def coloured_noise(
    rng: np.random.Generator, num_samples: int, exponent: float
) -> Float32[np.ndarray, "{num_samples}"]:
    """Generates Gaussian noise of power 1 with a power spectrum of 1/f^exponent, flat below 20 Hz.

    Args:
      rng: random generator.
      num_samples: number of samples.
      exponent: 0 for white, 1 for pink and 2 for brown noise.
    """
    length = scipy.fft.next_fast_len(num_samples, real=True)
    spectrum = scipy.fft.rfft(rng.standard_normal(length, np.float32))
    frequency_hz = scipy.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ)
    shaped = spectrum * np.maximum(frequency_hz, 20.0) ** (-exponent / 2)
    noise = scipy.fft.irfft(shaped, length)[:num_samples]
    return (noise / np.sqrt(np.mean(noise**2) + 1e-20)).astype(np.float32)


def babble(
    rng: np.random.Generator, num_samples: int, voice: str
) -> Float32[np.ndarray, "{num_samples}"]:
    """Generates several simultaneous talkers, each at a random place of the same text; power 1.

    Args:
      rng: random generator.
      num_samples: number of samples.
      voice: name of the voice of all talkers.
    """
    speech = _babble_speech(voice)
    position = np.arange(num_samples)
    starts = rng.integers(0, len(speech), BABBLE_TALKERS)
    noise = sum(speech[(start + position) % len(speech)] for start in starts)
    return (noise / np.sqrt(np.mean(noise**2) + 1e-20)).astype(np.float32)


@functools.cache
def _babble_speech(voice: str) -> np.ndarray:
    talker = load_voice(voice)
    said = [talker.synthesize(text, speed=1.0, pitch=1.0, seed=0) for text in _BABBLE_TEXT]
    speech = np.concatenate(said)
    # Drops samples instead of resampling: aliasing is harmless in background noise.
    pick = np.arange(0, len(speech), talker.sample_rate_hz / SAMPLE_RATE_HZ).astype(np.int64)
    return speech[pick]


def add_noise(
    audio: Float32[np.ndarray, "N"], noise: Float32[np.ndarray, "N"], snr_db: float
) -> Float32[np.ndarray, "N"]:
    """Adds noise at a given signal-to-noise ratio over the whole utterance.

    Args:
      audio: the utterance.
      noise: noise of power 1.
      snr_db: signal-to-noise ratio in dB.
    """
    power = float(np.mean(audio.astype(np.float64) ** 2))
    return audio + noise * np.float32(np.sqrt(power * 10 ** (-snr_db / 10)))
