"""Log-mel filterbank energies of streaming audio.

Frame ``t`` covers the ``window`` samples that end with sample ``(t + 1) * hop - 1``. A chunk of
``k * hop`` samples, with the ``history`` samples before it (silence at the start), therefore gives
exactly ``k`` frames, and whole recordings and chunks use the same function. On a CPU the results
are equal to the bit. The transform operates on one row at a time, and the sums over bins are chains
of elementwise operations: the order of additions in a matrix product or a reduction depends on the
number of rows.
"""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from rnnt_qat.typing import Array, Float


@dataclasses.dataclass(frozen=True)
class LogMelConfig:
    """Options of a log-mel frame.

    Attributes:
      sample_rate_hz: sample rate of the audio.
      window_ms: length of the (symmetric) Hann window in milliseconds.
      hop_ms: distance between frames in milliseconds.
      num_mel_bins: number of triangular filters of peak 1, evenly spaced on Slaney's mel scale.
      fft_size: points of the transform; the window is zero-padded to it.
      low_hz: lower edge of the first filter.
      high_hz: upper edge of the last filter, at most half the sample rate.
      preemphasis: ``a`` of the filter ``y[n] = x[n] - a x[n - 1]``, in [0, 1).
      log_floor: constant added to every energy before the logarithm. The default corresponds, for
        samples in [-1, 1), to the energy of white noise at about -85 dB below full scale.
    """

    sample_rate_hz: int = 16_000
    window_ms: float = 25.0
    hop_ms: float = 10.0
    num_mel_bins: int = 80
    fft_size: int = 512
    low_hz: float = 0.0
    high_hz: float = 8_000.0
    preemphasis: float = 0.97
    log_floor: float = 1e-6

    def __post_init__(self):
        for name in ("window_ms", "hop_ms"):
            samples = getattr(self, name) * self.sample_rate_hz / 1000
            if samples < 1 or not float(samples).is_integer():
                raise ValueError(
                    f"log_mel.{name}={getattr(self, name)} is {samples} samples at "
                    f"{self.sample_rate_hz} Hz: choose a whole, positive number of samples"
                )
        if not self.hop <= self.window <= self.fft_size:
            raise ValueError(
                "log_mel needs hop <= window <= fft_size, got "
                f"{self.hop}, {self.window}, {self.fft_size} samples"
            )
        if not 0 <= self.low_hz < self.high_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"log_mel.low_hz={self.low_hz} and high_hz={self.high_hz} must rise within "
                f"[0, {self.sample_rate_hz / 2}] Hz"
            )
        if not 0 <= self.preemphasis < 1:
            raise ValueError(f"log_mel.preemphasis={self.preemphasis} is not in [0, 1)")
        if self.log_floor <= 0:
            raise ValueError(f"log_mel.log_floor={self.log_floor} must be positive")
        empty = np.flatnonzero(mel_filterbank(self).sum(0) == 0)
        if empty.size:
            raise ValueError(
                f"log_mel.num_mel_bins={self.num_mel_bins}: filters {empty.tolist()} fall between "
                f"two bins of fft_size={self.fft_size}; use fewer filters or a longer transform"
            )

    @property
    def window(self) -> int:
        """Length of the window in samples."""
        return round(self.window_ms * self.sample_rate_hz / 1000)

    @property
    def hop(self) -> int:
        """Distance between frames in samples."""
        return round(self.hop_ms * self.sample_rate_hz / 1000)

    @property
    def history(self) -> int:
        """Samples before a chunk that its frames need (one of them only for the pre-emphasis)."""
        return self.window - self.hop + 1

    def num_frames(self, num_samples):
        """Converts samples (int or array) to frames; silence completes the last frame."""
        return -(-num_samples // self.hop)


def _hz_to_mel(hz):
    """Converts to Slaney's scale: 3/200 mel per Hz up to 1 kHz, then 27 mel per factor of 6.4."""
    hz = np.asarray(hz, np.float64)
    return np.where(
        hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1) / 1000) / np.log(6.4)
    )


def _mel_to_hz(mel):
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((np.asarray(mel) - 15) / 27))


@functools.lru_cache(maxsize=8)
def mel_filterbank(config: LogMelConfig) -> Float[np.ndarray, "bins F"]:
    """Computes the weights of the filters, float64 (Slaney, Auditory Toolbox, 1998)."""
    mels = np.linspace(
        _hz_to_mel(config.low_hz), _hz_to_mel(config.high_hz), config.num_mel_bins + 2
    )
    left, centre, right = (_mel_to_hz(mels)[i : i + config.num_mel_bins] for i in range(3))
    hz = (np.arange(config.fft_size // 2 + 1) * config.sample_rate_hz / config.fft_size)[:, None]
    rising, falling = (hz - left) / (centre - left), (right - hz) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling))


def log_mel(
    audio: Float[Array, "B N"], history: Float[Array, "B S"], config: LogMelConfig
) -> tuple[Float[Array, "B T F"], Float[Array, "B S"]]:
    """Computes the log-mel frames of a chunk, and the history for the next chunk.

    Args:
      audio: samples in [-1, 1); N is a multiple of ``config.hop``.
      history: the ``config.history`` samples before ``audio``; zeros at the start.
      config: options of a frame.

    Returns:
      ``log(mel energies + log_floor)`` with ``T = N / hop``, and the new history.

    Raises:
      ValueError: N is not a multiple of ``config.hop``.
    """
    batch, num_samples = audio.shape
    if num_samples % config.hop:
        raise ValueError(f"{num_samples} samples are not a multiple of the hop, {config.hop}")
    samples = jnp.concatenate([history, audio], axis=1)
    emphasised = samples[:, 1:] - config.preemphasis * samples[:, :-1]

    # A window is the end of `overlap` whole hops, so framing needs slices and not a gather.
    overlap = -(-config.window // config.hop)
    skip = overlap * config.hop - config.window
    hops = jnp.pad(emphasised, ((0, 0), (skip, 0))).reshape(batch, -1, config.hop)
    num_frames = num_samples // config.hop
    frames = jnp.concatenate([hops[:, i : i + num_frames] for i in range(overlap)], axis=-1)
    windowed = frames[..., skip:] * np.hanning(config.window).astype(np.float32)

    spectrum = jnp.fft.rfft(windowed, n=config.fft_size)
    power = spectrum.real**2 + spectrum.imag**2
    return jnp.log(_filter(power, config) + config.log_floor), samples[:, num_samples:]


def _filter(power: Float[Array, "B T bins"], config: LogMelConfig) -> Float[Array, "B T F"]:
    """Computes ``power @ mel_filterbank`` as a chain of multiply-adds over the bins of each filter.

    The fixed order of additions keeps the result independent of the chunking.
    """
    weights = mel_filterbank(config)
    first = np.argmax(weights > 0, axis=0)
    widest = (weights > 0).sum(axis=0).max()
    padded = np.pad(weights, ((0, widest), (0, 0)))
    energy = jnp.zeros((), power.dtype)
    for i in range(widest):
        bins = np.minimum(first + i, weights.shape[0] - 1)
        weight = padded[first + i, np.arange(config.num_mel_bins)].astype(np.float32)
        energy = energy + power[..., bins] * weight
    return energy


MLPERF = LogMelConfig(window_ms=20.0, hop_ms=10.0, log_floor=1e-9)
"""Frame of the MLPerf RNN-T benchmark, without its dither and per-utterance normalisation."""
