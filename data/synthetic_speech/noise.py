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
"""Said in the background only; none of it is a training sentence."""


def coloured_noise(
    rng: np.random.Generator, num_samples: int, exponent: float
) -> Float32[np.ndarray, "{num_samples}"]:
    """Gaussian noise whose power falls as 1/f^exponent: 0 white, 1 pink, 2 brown; power 1.

    Below 20 Hz it is flat.
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
    """Several talkers at once, each at a random place of the same text; power 1."""
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
    # Two of three samples of 24 kHz and so on: aliasing does no harm to a background.
    pick = np.arange(0, len(speech), talker.sample_rate_hz / SAMPLE_RATE_HZ).astype(np.int64)
    return speech[pick]


def add_noise(
    audio: Float32[np.ndarray, "N"], noise: Float32[np.ndarray, "N"], snr_db: float
) -> Float32[np.ndarray, "N"]:
    """Adds noise of power 1 so that the whole utterance's power is `snr_db` above it."""
    power = float(np.mean(audio.astype(np.float64) ** 2))
    return audio + noise * np.float32(np.sqrt(power * 10 ** (-snr_db / 10)))
