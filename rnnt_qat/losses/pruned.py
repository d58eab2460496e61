"""Pruned transducer loss: the joint is evaluated only in a band that a cheap joiner selects.

The *simple* joiner adds two vectors of logits, ``encoded[t] + predicted[u]``. Its normaliser over
the whole lattice is a single matrix product,

  log sum_v exp(e_tv + p_uv) = max_v e_tv + max_v p_uv + log (exp(e - max) exp(p - max)^T)_tu,

so its loss and its posteriors take ``T U V`` multiplications and ``T U`` numbers of memory. (If the
peaks are too far apart for float32, the normaliser is computed directly, frame by frame.) The band
consists of the ``width`` labels with the largest posterior of every frame, and the joint is
evaluated only there. The two losses are trained together: the simple one scaled by about 0.5, and
the pruned one scaled down until the band is reliable.

Source: Kuang et al., "Pruned RNN-T for fast, memory-efficient ASR training", Interspeech 2022,
sections 3.1 and 3.2. Unlike in the paper, the band is rounded up to the tiles of the factored loss,
which only adds alignments.
"""

import jax
import jax.numpy as jnp

from rnnt_qat.losses.factored import JointHead, transducer_loss_factored
from rnnt_qat.losses.lattice import ArcPosteriors, lattice_loss, lattice_loss_and_posteriors
from rnnt_qat.losses.transducer import arc_targets, check_lattice_shapes
from rnnt_qat.typing import BLANK_ID, Array, Bool, Float, Int


def transducer_loss_pruned(
    head: JointHead,
    encoded: Float[Array, "B T J"],
    predicted: Float[Array, "B U1 J"],
    simple_encoded: Float[Array, "B T V"],
    simple_predicted: Float[Array, "B U1 V"],
    encoded_lengths: Int[Array, "B"],
    labels: Int[Array, "B U"],
    label_lengths: Int[Array, "B"],
    *,
    width: int = 5,
    chunk_frames: int = 2,
    blank_id: int = BLANK_ID,
    fastemit_lambda: float = 0.0,
) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """Computes the loss over the alignments in the band, and the loss of the simple joiner.

    Args:
      head: the joint (see ``JointHead``).
      encoded: encoder projections for ``head``.
      predicted: prediction projections for ``head``, column ``u`` after ``u`` labels.
      simple_encoded: contribution of the encoder to the logits of the simple joiner.
      simple_predicted: contribution of the prediction network to them.
      encoded_lengths: valid frames of each row, in [0, T].
      labels: tokens, never ``blank_id`` within the length.
      label_lengths: valid labels of each row, in [0, U].
      width: labels per frame in the band, at least 2. The loss of a row with more labels than the
        band can climb, ``T (width - 1)``, may be +inf.
      chunk_frames: see ``transducer_loss_factored``.
      blank_id: index of the blank in the vocabulary.
      fastemit_lambda: strength of FastEmit in the pruned loss.

    Returns:
      Pruned loss, which is at least the exact loss, and simple loss, float32 in nats. The band is
      treated as a constant: no gradient flows through its choice.

    Raises:
      ValueError: the shapes are inconsistent, or ``width`` is below 2.
    """
    if width < 2:
        raise ValueError(f"width is {width}: a band needs at least 2 labels a frame to climb")
    if not encoded_lengths.shape[0]:
        return jnp.zeros(0, jnp.float32), jnp.zeros(0, jnp.float32)
    arcs = simple_arcs(
        simple_encoded, simple_predicted, encoded_lengths, labels, label_lengths, blank_id=blank_id
    )
    simple = lattice_loss(*arcs, encoded_lengths, label_lengths)
    _, posteriors = lattice_loss_and_posteriors(
        *jax.lax.stop_gradient(arcs), encoded_lengths, label_lengths
    )
    pruned = transducer_loss_factored(
        head,
        encoded,
        predicted,
        encoded_lengths,
        labels,
        label_lengths,
        band=choose_band(posteriors, encoded_lengths, label_lengths, width),
        chunk_frames=chunk_frames,
        blank_id=blank_id,
        fastemit_lambda=fastemit_lambda,
    )
    return pruned, simple


def simple_arcs(
    encoded: Float[Array, "B T V"],
    predicted: Float[Array, "B U1 V"],
    encoded_lengths: Int[Array, "B"],
    labels: Int[Array, "B U"],
    label_lengths: Int[Array, "B"],
    *,
    blank_id: int = BLANK_ID,
) -> tuple[Float[Array, "B T U1"], Float[Array, "B T U1"]]:
    """Computes the arc log-probabilities of ``softmax(encoded[t] + predicted[u])``.

    Args:
      encoded: contribution of the encoder to the logits.
      predicted: contribution of the prediction network to the logits.
      encoded_lengths: valid frames of each row.
      labels: tokens, never ``blank_id`` within the length.
      label_lengths: valid labels of each row.
      blank_id: index of the blank in the vocabulary.

    Returns:
      Blank and label log-probabilities, float32.

    Raises:
      ValueError: the shapes are inconsistent.
    """
    (B, T, V), U1 = encoded.shape, predicted.shape[1]
    if (predicted.shape[0], predicted.shape[2]) != (B, V):
        raise ValueError(f"simple logits {encoded.shape} and {predicted.shape} differ in B or V")
    check_lattice_shapes((B, T, U1), encoded_lengths, labels, label_lengths)
    # The matrix product would spread NaN in the padding over whole rows and columns.
    encoded = _zero_padding(encoded, encoded_lengths)
    predicted = _zero_padding(predicted, label_lengths + 1)
    encoded_peak = jax.lax.stop_gradient(encoded.max(-1, keepdims=True))
    predicted_peak = jax.lax.stop_gradient(predicted.max(-1, keepdims=True))
    encoded, predicted = encoded - encoded_peak, predicted - predicted_peak
    total = jnp.einsum("btv,buv->btu", jnp.exp(encoded), jnp.exp(predicted))
    normaliser = jax.lax.cond(
        jnp.all(total >= _SMALLEST_SUM),
        lambda total, encoded, predicted: jnp.log(jnp.maximum(total, _SMALLEST_SUM)),
        lambda total, encoded, predicted: _log_sum_by_frame(encoded, predicted),
        total,
        encoded,
        predicted,
    )
    targets = arc_targets(labels)
    of_frame = jnp.take_along_axis(encoded, targets[:, None, :], axis=-1)
    of_column = jnp.take_along_axis(predicted, targets[:, :, None], axis=-1)
    blank = encoded[:, :, None, blank_id] + predicted[:, None, :, blank_id]
    return blank - normaliser, of_frame + of_column[:, None, :, 0] - normaliser


_SMALLEST_SUM = 2.0**-90
"""Smallest sum of products that is accurate: terms lost to underflow (below 2^-126) are negligible
beside it."""


def _log_sum_by_frame(
    encoded: Float[Array, "B T V"], predicted: Float[Array, "B U1 V"]
) -> Float[Array, "B T U1"]:
    """Computes ``log sum_v exp(e_tv + p_uv)`` directly, with ``B U V`` numbers per frame."""

    @jax.checkpoint
    def of_frame(frame: Float[Array, "B V"]) -> Float[Array, "B U1"]:
        return jax.nn.logsumexp(frame[:, None] + predicted, axis=-1)

    return jax.lax.map(of_frame, encoded.swapaxes(0, 1)).swapaxes(0, 1)


def _zero_padding(x: Float[Array, "B S V"], lengths: Int[Array, "B"]) -> Float[Array, "B S V"]:
    inside = jnp.arange(x.shape[1])[None, :] < lengths[:, None]
    return jnp.where(inside[..., None], x, 0).astype(jnp.float32)


def choose_band(
    posteriors: ArcPosteriors,
    encoded_lengths: Int[Array, "B"],
    label_lengths: Int[Array, "B"],
    width: int,
) -> Bool[Array, "B T U1"]:
    """Selects, for each frame, the ``width`` adjacent labels with the largest total posterior.

    The band is adjusted so that alignments can pass it: it starts at label 0, ends at the last
    label, never decreases and climbs by at most ``width - 1`` per frame. Every column can then be
    reached from the previous frame (section 3.2).

    Args:
      posteriors: arc posteriors of the simple joiner.
      encoded_lengths: valid frames of each row.
      label_lengths: valid labels of each row.
      width: labels per frame.

    Returns:
      True for the cells in the band.
    """
    _, T, U1 = posteriors.blank.shape
    occupancy = jnp.cumsum(posteriors.blank + posteriors.label, axis=-1)
    ahead = jnp.pad(occupancy, ((0, 0), (0, 0), (0, width - 1)), mode="edge")[:, :, width - 1 :]
    within = ahead - jnp.pad(occupancy, ((0, 0), (0, 0), (1, 0)))[:, :, :U1]
    last_start = jnp.maximum(label_lengths + 1 - width, 0)[:, None]
    start = jnp.minimum(jnp.argmax(within, axis=-1), last_start)

    frame = jnp.arange(T)[None, :]
    start = jnp.where(frame >= encoded_lengths[:, None] - 1, last_start, start)
    climb = (width - 1) * frame
    start = jnp.minimum(start, climb)
    start = jax.lax.cummin(start, axis=1, reverse=True)
    start = jax.lax.cummax(start - climb, axis=1, reverse=True) + climb
    column = jnp.arange(U1)[None, None, :]
    return (column >= start[..., None]) & (column < start[..., None] + width)
