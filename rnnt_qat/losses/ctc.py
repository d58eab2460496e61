"""Connectionist temporal classification, as an auxiliary loss on the encoder."""

import jax.numpy as jnp
import optax

from rnnt_qat.typing import BLANK_ID, Array, Float, Int


def ctc_loss(
    logits: Float[Array, "B T V"],
    logit_lengths: Int[Array, "B"],
    labels: Int[Array, "B U"],
    label_lengths: Int[Array, "B"],
) -> Float[Array, "B"]:
    """Computes the CTC loss of each row (Graves et al., 2006) with optax.

    CTC emits at most one label per frame and requires a blank between two equal labels. A row with
    too many labels for that has no CTC alignment, but the transducer can still learn it. Its CTC
    loss is therefore 0 and not an error.

    Args:
      logits: unnormalised scores over the vocabulary, including the blank, any float dtype.
      logit_lengths: valid frames of each row, in [0, T].
      labels: labels in [1, V).
      label_lengths: valid labels of each row, in [0, U].

    Returns:
      Negative log-likelihood of each row in nats, float32; 0 where no alignment exists.
    """
    frame_padding = jnp.arange(logits.shape[1]) >= logit_lengths[:, None]
    label_padding = jnp.arange(labels.shape[1]) >= label_lengths[:, None]
    # Two equal labels need a blank between them, and so one more frame.
    repeated = (labels[:, 1:] == labels[:, :-1]) & ~label_padding[:, 1:]
    possible = label_lengths + repeated.sum(axis=1) <= logit_lengths
    losses = optax.ctc_loss(
        jnp.where(frame_padding[..., None], 0.0, logits).astype(jnp.float32),
        frame_padding.astype(jnp.float32),
        labels,
        label_padding.astype(jnp.float32),
        blank_id=BLANK_ID,
    )
    return jnp.where(possible & (logit_lengths > 0), losses, 0.0)
