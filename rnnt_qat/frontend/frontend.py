"""Encoder features from audio, by the same computation for chunks and whole recordings."""

import dataclasses
import math

import flax.struct
import jax
import jax.numpy as jnp

from rnnt_qat.batch import AudioBatch, Batch
from rnnt_qat.frontend.log_mel import LogMelConfig, log_mel
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.typing import Array, Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class FrontendConfig:
    """Options of the features.

    Attributes:
      log_mel: options of a log-mel frame.
      stack: number of consecutive log-mel frames that are concatenated to one encoder input frame.
      deviation: standard deviation that every bin is normalised to. Bins and frames of speech are
        correlated, so at deviation 1 the sum over hundreds of them drives the gates of the first
        layer far beyond 8, the range of the 16-bit gate formats of the chips.
    """

    log_mel: LogMelConfig = dataclasses.field(default_factory=LogMelConfig)
    stack: int = 3
    deviation: float = 1.0

    def __post_init__(self):
        if self.stack < 1:
            raise ValueError(f"frontend.stack={self.stack} must be at least 1")
        if not 0 < self.deviation < math.inf:
            raise ValueError(f"frontend.deviation={self.deviation} must be positive")

    @property
    def feature_size(self) -> int:
        """Width F of a stacked frame, with the oldest log-mel frame first."""
        return self.stack * self.log_mel.num_mel_bins

    @property
    def samples_per_frame(self) -> int:
        """Hop of a stacked frame in audio samples."""
        return self.stack * self.log_mel.hop

    @property
    def frame_ms(self) -> float:
        """Hop of a stacked frame in milliseconds."""
        return self.stack * self.log_mel.hop_ms

    def num_frames(self, num_samples):
        """Converts samples (int or array) to stacked frames; silence completes the last frame."""
        return -(-num_samples // self.samples_per_frame)

    def padded_samples(self, num_samples):
        """Rounds up to whole stacked frames, the lengths that the frontend accepts."""
        return self.num_frames(num_samples) * self.samples_per_frame


@flax.struct.dataclass
class Frontend:
    """A frontend with its statistics; a pytree, so it can be an argument of jitted functions.

    Attributes:
      config: options of the features (static).
      stats: global moments of the log-mel bins.
    """

    config: FrontendConfig = flax.struct.field(pytree_node=False)
    stats: FeatureStats

    def initial_state(self, batch_size: int) -> Float[Array, "B S"]:
        """Returns the state before the first chunk: silence."""
        return jnp.zeros((batch_size, self.config.log_mel.history), jnp.float32)

    def __call__(
        self,
        audio: Float[Array, "B N"],
        audio_lengths: Int[Array, "B"],
        state: Float[Array, "B S"] | None = None,
    ) -> tuple[Float[Array, "B T F"], Bool[Array, "B T"], Float[Array, "B S"]]:
        """Computes the features of a recording or of its next chunk.

        The features of chunks equal those of the whole recording to the bit (under jit, on the same
        device). A recording that ends within a chunk has a shorter length there and 0 in later
        chunks.

        Args:
          audio: samples in [-1, 1); N is a multiple of ``config.samples_per_frame``. Samples past
            the length of a row are ignored.
          audio_lengths: valid samples of each row in this chunk.
          state: state after the previous chunk; None at the start.

        Returns:
          ``(features, mask, state)`` with ``T = N / samples_per_frame``; features are zero where
          the mask is False.

        Raises:
          ValueError: N is not a multiple of ``config.samples_per_frame``.
        """
        config = self.config
        batch, num_samples = audio.shape
        if num_samples % config.samples_per_frame:
            raise ValueError(
                f"audio of {num_samples} samples is not whole stacked frames of "
                f"{config.samples_per_frame} samples ({config.frame_ms:g} ms): pad it to "
                "`padded_samples`, or choose --chunk_ms a multiple of the frame"
            )
        if state is None:
            state = self.initial_state(batch)
        audio = jnp.where(jnp.arange(num_samples) < audio_lengths[:, None], audio, 0.0)
        frames, state = log_mel(audio, state, config.log_mel)
        # A program that closes over the statistics would fold them: it multiplies by a rounded
        # reciprocal, joined with the scale of the quantization that follows. Behind barriers
        # every program computes the same features, and so the same integers.
        stats = jax.lax.optimization_barrier(self.stats)
        divisor = jax.lax.optimization_barrier(stats.std / config.deviation)
        features = jax.lax.optimization_barrier((frames - stats.mean) / divisor)
        features = features.reshape(batch, -1, config.feature_size)
        num_frames = config.num_frames(audio_lengths)[:, None]
        mask = jnp.arange(features.shape[1]) < num_frames
        return jnp.where(mask[..., None], features, 0.0), mask, state

    def batch(self, batch: AudioBatch) -> Batch:
        """Computes the features of a padded batch of whole recordings."""
        features, _, _ = self(batch.audio, batch.audio_lengths)
        return Batch(
            features=features,
            feature_lengths=self.config.num_frames(batch.audio_lengths),
            labels=batch.labels,
            label_lengths=batch.label_lengths,
            utterance_index=batch.utterance_index,
        )
