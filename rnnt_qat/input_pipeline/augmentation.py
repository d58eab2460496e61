"""On-the-fly waveform augmentation: speed, reverberation, noise, bandwidth, gain and offset."""

import dataclasses
import fractions

import numpy as np
import scipy

from rnnt_qat.input_pipeline.room import reverberate, room_response
from rnnt_qat.typing import Float, Int


@dataclasses.dataclass(frozen=True)
class WaveformAugmentation:
    """Options of waveform augmentation; the defaults change nothing.

    Reference: Ko et al. 2015, "Audio augmentation for speech recognition", section 2 (speed).

    Attributes:
      speeds: factors of which one is drawn for each example; 1.1 is 10 % faster and higher.
      gain_db: range of the gain (uniform) in dB; samples that exceed full scale are clipped.
      noise_probability: probability of adding stationary noise with a random spectral tilt.
      snr_db: range of the signal-to-noise ratio (uniform) in dB.
      room_probability: probability of reverberation, which is applied before the noise.
      reverberation_s: range of the reverberation time T60 in seconds.
      direct_to_reverberant_db: range of the direct-to-reverberant energy ratio in dB.
      half_band_probability: probability of removing the upper half of the spectrum, after the
        noise, as in a recording at half the sample rate (8 kHz at telephones).
      offset: maximum DC offset relative to full scale; uniform in [-offset, offset].
    """

    speeds: tuple[float, ...] = (1.0,)
    gain_db: tuple[float, float] = (0.0, 0.0)
    noise_probability: float = 0.0
    snr_db: tuple[float, float] = (10.0, 30.0)
    room_probability: float = 0.0
    reverberation_s: tuple[float, float] = (0.1, 0.5)
    direct_to_reverberant_db: tuple[float, float] = (4.0, 18.0)
    half_band_probability: float = 0.0
    offset: float = 0.0

    def __post_init__(self):
        if not self.speeds or min(self.speeds) < 0.5 or max(self.speeds) > 2:
            raise ValueError(f"augmentation.speeds={self.speeds} must hold factors in [0.5, 2]")
        for name in ("gain_db", "snr_db", "reverberation_s", "direct_to_reverberant_db"):
            if getattr(self, name)[0] > getattr(self, name)[1]:
                raise ValueError(f"augmentation.{name}={getattr(self, name)} must be (low, high)")
        if self.reverberation_s[0] < 0.05:  # must hold the reflections of the first 40 ms
            raise ValueError(
                f"augmentation.reverberation_s={self.reverberation_s} must be at least 0.05"
            )
        probabilities = "noise_probability", "room_probability", "half_band_probability"
        for name in (*probabilities, "offset"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augmentation.{name}={getattr(self, name)} not in [0, 1]")

    @property
    def changes_nothing(self) -> bool:
        """Whether the samples of an utterance are the same in every epoch."""
        return (
            set(self.speeds) == {1.0}
            and self.gain_db == (0, 0)
            and not (self.noise_probability or self.room_probability)
            and not (self.half_band_probability or self.offset)
        )

    def draw_speeds(self, rng: np.random.Generator, num_examples: int) -> Float[np.ndarray, "E"]:
        """Draws the speed of each example of an epoch."""
        return rng.choice(np.asarray(self.speeds), num_examples)

    def apply(
        self, audio: Float[np.ndarray, "N"], speed: float, rng: np.random.Generator
    ) -> Float[np.ndarray, "M"]:
        """Augments a recording.

        Args:
          audio: float samples in [-1, 1).
          speed: speed factor, as drawn by ``draw_speeds``.
          rng: random generator of all other draws.

        Returns:
          float32 samples in [-1, 1); ``M = samples_at_speed(N, speed)``.
        """
        if speed != 1:
            ratio = _ratio(speed)
            audio = scipy.signal.resample_poly(audio, ratio.denominator, ratio.numerator)
        if self.room_probability and rng.random() < self.room_probability:
            room = rng.uniform(*self.reverberation_s), rng.uniform(*self.direct_to_reverberant_db)
            audio = reverberate(audio, room_response(rng, *room))
        if rng.random() < self.noise_probability:
            audio = audio + self._noise(audio, rng)
        if self.half_band_probability and rng.random() < self.half_band_probability:
            audio = half_band(audio)
        gain = 10 ** (rng.uniform(*self.gain_db) / 20)
        audio = audio * np.float32(gain)
        if self.offset:
            audio = audio + np.float32(rng.uniform(-self.offset, self.offset))
        return np.clip(audio, -1, 1 - 2**-15).astype(np.float32)

    def _noise(self, audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        white = rng.standard_normal(len(audio), np.float32)
        noise = scipy.signal.lfilter([1.0], [1.0, -rng.uniform(0, 0.95)], white)
        power_ratio = 10 ** (rng.uniform(*self.snr_db) / 10)
        scale = np.sqrt(np.mean(np.square(audio)) / (np.mean(np.square(noise)) * power_ratio))
        return (noise * scale).astype(np.float32)


def half_band(audio: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """Samples audio at half of its rate and back, which removes the upper half of its spectrum."""
    return scipy.signal.resample_poly(scipy.signal.resample_poly(audio, 1, 2), 2, 1)[: len(audio)]


def samples_at_speed(
    num_samples: Int[np.ndarray, "E"], speeds: Float[np.ndarray, "E"]
) -> Int[np.ndarray, "E"]:
    """Computes the audio lengths in samples after the change of speed."""
    lengths = np.array(num_samples)
    for speed in np.unique(speeds):
        ratio = _ratio(speed)
        at_speed = speeds == speed
        lengths[at_speed] = -(-lengths[at_speed] * ratio.denominator // ratio.numerator)
    return lengths


def _ratio(speed: float) -> fractions.Fraction:
    return fractions.Fraction(float(speed)).limit_denominator(100)
