"""SpecAugment: random masks over time and mel bins, drawn in the training step.

References: Park et al. 2019, "SpecAugment" (arXiv 1904.08779); Park et al. 2020, "SpecAugment on
Large Scale Datasets" (arXiv 1912.05533), section 3.1, for masks that adapt to the utterance length.
"""

import dataclasses

import jax
import jax.numpy as jnp

from rnnt_qat.batch import mask_from_lengths
from rnnt_qat.typing import Array, Bool, Float, Int, PRNGKey


@dataclasses.dataclass(frozen=True)
class SpecAugmentConfig:
    """Number and size of the masks. Masked values are 0, the mean of normalised features.

    Attributes:
      freq_masks: number of masks over mel bins per utterance.
      freq_mask_bins: maximum width of such a mask in bins, F in the paper.
      time_mask_density: number of time masks per (stacked) frame of the utterance, p_M.
      max_time_masks: maximum number of time masks per utterance.
      time_mask_fraction: maximum width of a time mask as a fraction of the utterance, p_S, in
        [0, 1].
    """

    freq_masks: int = 2
    freq_mask_bins: int = 27
    time_mask_density: float = 0.1
    max_time_masks: int = 10
    time_mask_fraction: float = 0.05

    def __post_init__(self):
        for name in ("freq_masks", "freq_mask_bins", "time_mask_density", "max_time_masks"):
            if getattr(self, name) < 0:
                raise ValueError(f"spec_augment.{name}={getattr(self, name)} is negative")
        if not 0 <= self.time_mask_fraction <= 1:
            raise ValueError(
                f"spec_augment.time_mask_fraction={self.time_mask_fraction} is not in [0, 1]"
            )


def spec_augment(
    row_keys: PRNGKey,
    features: Float[Array, "B T F"],
    feature_lengths: Int[Array, "B"],
    num_mel_bins: int,
    config: SpecAugmentConfig,
) -> Float[Array, "B T F"]:
    """Masks each utterance independently; frames past its length are unchanged.

    The width of a mask is uniform on ``0..widest`` and its start is uniform over the positions at
    which it fits. A masked bin is masked in every log-mel frame of the stack.

    Args:
      row_keys: random key of each row for this step.
      features: normalised frames; F is ``num_mel_bins`` times the number of stacked frames.
      feature_lengths: valid frames of each row.
      num_mel_bins: mel bins of one log-mel frame.
      config: number and size of the masks.

    Returns:
      The masked features.

    Raises:
      ValueError: F or ``config.freq_mask_bins`` does not fit ``num_mel_bins``.
    """
    batch, num_frames, size = features.shape
    if size % num_mel_bins:
        raise ValueError(f"{size} features are not a stack of {num_mel_bins} mel bins")
    if config.freq_mask_bins > num_mel_bins:
        raise ValueError(
            f"spec_augment.freq_mask_bins={config.freq_mask_bins} exceeds {num_mel_bins} mel bins"
        )
    time_keys, freq_keys = jax.vmap(jax.random.split, out_axes=1)(row_keys)
    lengths = feature_lengths.astype(jnp.float32)
    time_masked = _masks(
        time_keys,
        num_masks=jnp.floor(config.time_mask_density * lengths).astype(jnp.int32),
        max_masks=config.max_time_masks,
        widest=jnp.floor(config.time_mask_fraction * lengths).astype(jnp.int32),
        lengths=feature_lengths,
        size=num_frames,
    )
    bin_masked = _masks(
        freq_keys,
        num_masks=jnp.full((batch,), config.freq_masks),
        max_masks=config.freq_masks,
        widest=jnp.full((batch,), config.freq_mask_bins),
        lengths=jnp.full((batch,), num_mel_bins),
        size=num_mel_bins,
    )
    masked = time_masked[:, :, None] | jnp.tile(bin_masked, size // num_mel_bins)[:, None, :]
    valid = mask_from_lengths(feature_lengths, num_frames)[:, :, None]
    return jnp.where(masked & valid, 0, features)


def _masks(
    row_keys: PRNGKey,
    num_masks: Int[Array, "B"],
    max_masks: int,
    widest: Int[Array, "B"],
    lengths: Int[Array, "B"],
    size: int,
) -> Bool[Array, "B S"]:
    """Draws intervals in ``[0, lengths)`` and returns their union in each row; True is masked."""

    def draw(key, widest, length):
        width_key, start_key = jax.random.split(key)
        widths = jax.random.randint(width_key, (max_masks,), 0, widest + 1)
        return widths, jax.random.randint(start_key, (max_masks,), 0, length - widths + 1)

    widths, starts = jax.vmap(draw)(row_keys, widest, lengths)
    position = jnp.arange(size)
    inside = (position >= starts[..., None]) & (position < (starts + widths)[..., None])
    drawn = jnp.arange(max_masks) < num_masks[:, None]
    return jnp.any(inside & drawn[..., None], axis=1)
