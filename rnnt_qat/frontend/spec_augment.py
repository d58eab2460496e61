"""SpecAugment: random masks over time and mel bins, drawn in the training step.

References: Park et al. 2019, "SpecAugment" (arXiv 1904.08779); Park et al. 2020, "SpecAugment on
Large Scale Datasets" (arXiv 1912.05533), section 3.1, for masks that adapt to the utterance length.
"""

import dataclasses

import jax.numpy as jnp

from rnnt_qat.batch import mask_from_lengths
from rnnt_qat.infra.random_keys import descend, random_below, random_bits
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
    if not max(config.max_time_masks, config.freq_masks):
        return features
    lengths = feature_lengths.astype(jnp.float32)
    num_masks, widest_time = (
        jnp.floor(share * lengths).astype(jnp.int32)
        for share in (config.time_mask_density, config.time_mask_fraction)
    )
    bins = jnp.full((batch,), num_mel_bins)
    widths, starts = _intervals(
        row_keys,
        max(config.max_time_masks, config.freq_masks),
        widest=jnp.stack([widest_time, jnp.full((batch,), config.freq_mask_bins)], axis=1),
        lengths=jnp.stack([feature_lengths, bins], axis=1),
    )
    some = config.max_time_masks
    time_masked = _covered(widths[:, 0, :some], starts[:, 0, :some], num_masks, num_frames)
    some, every = config.freq_masks, jnp.full((batch,), config.freq_masks)
    bin_masked = _covered(widths[:, 1, :some], starts[:, 1, :some], every, num_mel_bins)
    masked = time_masked[:, :, None] | jnp.tile(bin_masked, size // num_mel_bins)[:, None, :]
    valid = mask_from_lengths(feature_lengths, num_frames)[:, :, None]
    return jnp.where(masked & valid, 0, features)


def _intervals(
    row_keys: PRNGKey, count: int, widest: Int[Array, "B 2"], lengths: Int[Array, "B 2"]
) -> tuple[Int[Array, "B 2 M"], Int[Array, "B 2 M"]]:
    """Draws widths and starts of intervals over time and over mel bins.

    The numbers are those of ``jax.random.randint`` with a key for each kind, split into one for
    widths and one for starts.

    Args:
      row_keys: random key of each row.
      count: number of intervals of each kind, M.
      widest: maximum width of either kind.
      lengths: number of positions of either kind.
    """
    kind, what, half = jnp.arange(2)[:, None, None], jnp.arange(2)[:, None], jnp.arange(2)
    keys = descend(row_keys[:, None, None, None], kind, what, half)
    bits = random_bits(keys, count)  # [B, kind, width or start, half, M]
    widths = random_below(bits[:, :, 0, 0], bits[:, :, 0, 1], widest[..., None] + 1)
    starts = random_below(bits[:, :, 1, 0], bits[:, :, 1, 1], lengths[..., None] - widths + 1)
    return widths, starts


def _covered(
    widths: Int[Array, "B M"], starts: Int[Array, "B M"], num_masks: Int[Array, "B"], size: int
) -> Bool[Array, "B S"]:
    """Returns the union of each row's first ``num_masks`` intervals; True is masked."""
    position = jnp.arange(size)
    inside = (position >= starts[..., None]) & (position < (starts + widths)[..., None])
    drawn = jnp.arange(widths.shape[1]) < num_masks[:, None]
    return jnp.any(inside & drawn[..., None], axis=1)
