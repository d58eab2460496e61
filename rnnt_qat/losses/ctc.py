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
    """CTC loss of each row (Graves et al., 2006), by optax; zero where no alignment exists.

    CTC emits at most one label a frame, and needs a blank between two equal labels. A row with more
    labels than that allows can still be learned by the transducer, so it is no error here.

    Args:
      logits: scores over the vocabulary with the blank.
      logit_lengths: valid frames a row.
      labels: labels in [1, V).
      label_lengths: valid labels a row.

    Returns:
      Negative log-likelihoods, float32.
    """
    frame_padding = jnp.arange(logits.shape[1]) >= logit_lengths[:, None]
    label_padding = jnp.arange(labels.shape[1]) >= label_lengths[:, None]
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
