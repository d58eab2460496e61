"""Pruned transducer loss: a cheap joiner finds the band in which the real one is evaluated.

The *simple* joiner adds two vectors of logits, ``encoded[t] + predicted[u]``. Its normaliser over
the whole lattice is one matrix product,

  log sum_v exp(e_tv + p_uv) = max_v e_tv + max_v p_uv + log (exp(e - max) exp(p - max)^T)_tu,

so its loss and its posteriors cost ``T U V`` multiplications and ``T U`` numbers. (Where the peaks
lie too far apart for float32 it is taken as it stands, frame by frame.) For every frame the
``width`` labels that hold most of the posterior make a band, and the real joint is evaluated only
there. The two losses are trained together (the simple one scaled by about 0.5, and before the
band can be trusted the pruned one scaled down).

Source: Kuang et al., "Pruned RNN-T for fast, memory-efficient ASR training", Interspeech 2022,
sections 3.1 and 3.2. Unlike there, the band is rounded up to the tiles of the factored loss: more
alignments are kept, never fewer.
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
    """Loss over the alignments inside the simple joiner's band, and the simple joiner's own loss.

    Args:
      head: the joint (see ``JointHead``).
      encoded: encoder projections for ``head``.
      predicted: prediction projections for ``head``, column ``u`` after ``u`` labels.
      simple_encoded: the encoder's part of the simple joiner's logits.
      simple_predicted: the prediction network's part of them.
      encoded_lengths: valid frames a row, in [0, T].
      labels: tokens, never ``blank_id`` inside the length.
      label_lengths: valid labels a row, in [0, U].
      width: labels a frame in the band, at least 2. A row of more labels than such a band can
        climb, ``T (width - 1)``, may cost +inf.
      chunk_frames: as in ``transducer_loss_factored``, and so
      blank_id: this one
      fastemit_lambda: and this one, of the pruned loss only.

    Returns:
      Pruned loss, at least the exact one, and simple loss, float32 in nats. The band is a constant:
      no gradient flows through its choice.

    Raises:
      ValueError: shapes do not fit each other, or ``width`` is below 2.
    """
    if width < 2:
        raise ValueError(f"width is {width}: a band needs at least 2 labels a frame to climb")
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
    """Blank and label log-probabilities of ``softmax(encoded[t] + predicted[u])``, float32.

    Raises:
      ValueError: shapes do not fit each other.
    """
    (B, T, V), U1 = encoded.shape, predicted.shape[1]
    if (predicted.shape[0], predicted.shape[2]) != (B, V):
        raise ValueError(f"simple logits {encoded.shape} and {predicted.shape} differ in B or V")
    check_lattice_shapes((B, T, U1), encoded_lengths, labels, label_lengths)
    # NaN in the padding would reach whole matrices through the product.
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
"""Of a sum of products: those that float32 loses (below 2^-126) are still nothing beside it."""


def _log_sum_by_frame(
    encoded: Float[Array, "B T V"], predicted: Float[Array, "B U1 V"]
) -> Float[Array, "B T U1"]:
    """``log sum_v exp(e_tv + p_uv)`` however far the peaks lie apart; ``B U V`` numbers a frame."""

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
    """For each frame the ``width`` neighbouring labels of most posterior, made passable.

    A band starts at label 0, ends at the last one, never falls, and climbs by at most ``width - 1``
    a frame, so that every column of it can be reached from the frame before (section 3.2).
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
