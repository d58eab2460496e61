"""The one type that crosses from data to training and evaluation."""

import flax.struct
import jax.numpy as jnp
import numpy as np

from rnnt_qat.typing import Array, Bool, Float, Int, Num


@flax.struct.dataclass
class AudioBatch:
    """Padded audio and labels of one length bucket; a row of ``audio_lengths`` 0 is padding.

    Attributes:
      audio: samples in [-1, 1) at the corpus' rate (16 kHz), zero past the length.
      audio_lengths: valid samples a row.
      labels: tokens in [1, V), zero (blank) past the length.
      label_lengths: valid labels a row.
      utterance_index: position of the row's utterance in its dataset split, -1 for padding rows.
    """

    audio: Float[Array, "B N"]
    audio_lengths: Int[Array, "B"]
    labels: Int[Array, "B U"]
    label_lengths: Int[Array, "B"]
    utterance_index: Int[Array, "B"]


@flax.struct.dataclass
class Batch:
    """Padded features and labels of one length bucket; a row of ``feature_lengths`` 0 is padding.

    Attributes:
      features: normalised (and stacked) log-mel frames, zero past the length.
      feature_lengths: valid frames a row.
      labels: tokens in [1, V), zero (blank) past the length.
      label_lengths: valid labels a row.
      utterance_index: position of the row's utterance in its dataset split, -1 for padding rows.
    """

    features: Float[Array, "B T F"]
    feature_lengths: Int[Array, "B"]
    labels: Int[Array, "B U"]
    label_lengths: Int[Array, "B"]
    utterance_index: Int[Array, "B"]


def mask_from_lengths(lengths: Int[Array, "B"], size: int) -> Bool[Array, "B {size}"]:
    """True where the position lies inside the row's length; NumPy in, NumPy out."""
    xp = np if isinstance(lengths, np.ndarray) else jnp
    return xp.arange(size)[None, :] < lengths[:, None]


def to_float(samples: Num[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """Float32 samples in [-1, 1) of 16-bit ones; float samples pass through."""
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(32768)
    if not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(f"audio samples must be int16 or float, not {samples.dtype}")
    return samples.astype(np.float32, copy=False)
