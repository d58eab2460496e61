"""Exact transducer loss from logits, with the gradient of the softmax fused into its own.

  loss_b = -log P(labels_b | logits_b) = -log sum over alignments of the product of arc probs

With ``p = softmax(logits)`` and the arc posteriors ``g_blank``, ``g_label`` of the lattice,

  d loss / d logits[t, u, v] = p[t, u, v] (g_blank + (1 + lambda) g_label)
                               - [v = blank] g_blank - [v = label_{u+1}] (1 + lambda) g_label

which needs only the logits and four numbers per cell. The gradient is written once, and no other
array of shape ``[B, T, U + 1, V]`` is allocated.

Sources: Graves 2012 (loss); Yu et al., "FastEmit", ICASSP 2021, section 3 (``lambda``: the gradient
of label arcs is scaled by ``1 + lambda``; the returned loss is that of the likelihood).
"""

from functools import partial

import jax
import jax.numpy as jnp

from rnnt_qat.losses.lattice import (
    ArcPosteriors,
    lattice_loss,
    lattice_loss_and_posteriors,
    no_cotangent,
)
from rnnt_qat.typing import BLANK_ID, Array, Float, Int


def transducer_loss(
    logits: Float[Array, "B T U1 V"],
    logit_lengths: Int[Array, "B"],
    labels: Int[Array, "B U"],
    label_lengths: Int[Array, "B"],
    *,
    blank_id: int = BLANK_ID,
    fastemit_lambda: float = 0.0,
) -> Float[Array, "B"]:
    """Computes the exact transducer loss of each row, differentiable with respect to ``logits``.

    Args:
      logits: unnormalised scores of the joint, any float dtype; NaN is allowed in the padding.
      logit_lengths: valid frames of each row, in [0, T].
      labels: tokens, never ``blank_id`` within the length.
      label_lengths: valid labels of each row, in [0, U].
      blank_id: index of the blank in the vocabulary.
      fastemit_lambda: strength of FastEmit; 0 gives the gradient of the plain likelihood.

    Returns:
      Negative log-likelihood in nats, float32, at least 0. Rows without an alignment (no frames,
      or a length beyond the array: see ``is_feasible``) cost 0 with gradient 0; labels of
      probability 0 cost +inf with gradient 0.

    Raises:
      ValueError: the shapes are inconsistent, or ``blank_id`` is outside the vocabulary.
    """
    check_lattice_shapes(logits.shape[:3], logit_lengths, labels, label_lengths)
    if not 0 <= blank_id < logits.shape[-1]:
        raise ValueError(f"blank_id {blank_id} is outside the vocabulary of {logits.shape[-1]}")
    if not logits.shape[0]:
        return jnp.zeros(0, jnp.float32)
    return _loss(blank_id, float(fastemit_lambda), logits, logit_lengths, labels, label_lengths)


def check_lattice_shapes(
    lattice_shape: tuple[int, ...],
    frame_lengths: Int[Array, "B"],
    labels: Int[Array, "B U"],
    label_lengths: Int[Array, "B"],
) -> None:
    """Checks that the arrays describe one ``[B, T, U + 1]`` lattice with T > 0.

    Args:
      lattice_shape: ``(B, T, U + 1)``.
      frame_lengths: valid frames of each row.
      labels: labels of each row.
      label_lengths: valid labels of each row.

    Raises:
      ValueError: a shape is inconsistent with the lattice, or the lattice has no frames.
    """
    B, T, U1 = lattice_shape
    if labels.shape != (B, U1 - 1):
        raise ValueError(
            f"labels have shape {labels.shape}, but a lattice {lattice_shape} (B, T, U + 1)"
            f" needs {(B, U1 - 1)}: the prediction network also runs on the start symbol"
        )
    if T == 0:
        raise ValueError(f"a lattice of shape {lattice_shape} (B, T, U + 1) has no frames")
    for name, lengths in (("frame lengths", frame_lengths), ("label_lengths", label_lengths)):
        if lengths.shape != (B,):
            raise ValueError(f"{name} have shape {lengths.shape}, expected {(B,)}")


def arc_targets(labels: Int[Array, "B U"]) -> Int[Array, "B U1"]:
    """Returns the label of the label arc of each column; column U has no label arc and reads 0."""
    return jnp.pad(labels.astype(jnp.int32), ((0, 0), (0, 1)))


def log_sum_exp(logits: Float[Array, "*S V"]) -> Float[Array, "*S"]:
    """Computes the log-sum-exp over the vocabulary in float32."""
    return jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1)


def arc_log_probs(
    logits: Float[Array, "B T U1 V"], targets: Int[Array, "B U1"], blank_id: int
) -> tuple[Float[Array, "B T U1"], Float[Array, "B T U1"], Float[Array, "B T U1"]]:
    """Computes the log-probabilities of the arcs of each cell.

    Args:
      logits: unnormalised scores, any float dtype.
      targets: label of the label arc leaving each column (see ``arc_targets``).
      blank_id: index of the blank in the vocabulary.

    Returns:
      Blank log-probabilities, label log-probabilities and the log-sum-exp of each cell, float32.
    """
    normaliser = log_sum_exp(logits)
    blank = logits[..., blank_id].astype(jnp.float32)
    index = jnp.broadcast_to(targets[:, None, :, None], (*logits.shape[:3], 1))
    label = jnp.take_along_axis(logits, index, axis=-1)[..., 0].astype(jnp.float32)
    return blank - normaliser, label - normaliser, normaliser


def logits_cotangent(
    logits: Float[Array, "B T U1 V"],
    normaliser: Float[Array, "B T U1"],
    targets: Int[Array, "B U1"],
    arcs: ArcPosteriors,
    blank_id: int,
    signed: bool = False,
) -> Float[Array, "B T U1 V"]:
    """Computes the gradient with respect to the logits by the formula in the module docstring.

    Args:
      logits: unnormalised scores.
      normaliser: log-sum-exp of each cell.
      targets: label of the label arc leaving each column.
      arcs: arc posteriors as scaled by ``scale_arcs``, or the negative gradients with respect to
        any function's arc log-probabilities.
      blank_id: index of the blank in the vocabulary.
      signed: whether arcs may be negative, so that those of a cell may cancel.

    Returns:
      The gradient, in the dtype of ``logits``.
    """
    occupancy = arcs.blank + arcs.label
    softmax = jnp.exp(logits.astype(jnp.float32) - normaliser[..., None])
    v = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    gradient = softmax * occupancy[..., None]
    gradient -= jnp.where(v == blank_id, arcs.blank[..., None], 0.0)
    gradient -= jnp.where(v == targets[:, None, :, None], arcs.label[..., None], 0.0)
    # The padding may hold arbitrary values, including NaN; its gradient is zero.
    live = (arcs.blank != 0) | (arcs.label != 0) if signed else occupancy != 0
    return jnp.where(live[..., None], gradient, 0.0).astype(logits.dtype)


def scale_arcs(
    arcs: ArcPosteriors, cotangent: Float[Array, "B"], fastemit_lambda: float
) -> ArcPosteriors:
    """Scales arc posteriors by the cotangent, and label arcs also by ``1 + fastemit_lambda``.

    Args:
      arcs: posteriors of each cell.
      cotangent: gradient with respect to the loss of each row.
      fastemit_lambda: strength of FastEmit.
    """
    cotangent = cotangent[:, None, None]
    return ArcPosteriors(
        blank=cotangent * arcs.blank, label=cotangent * (1.0 + fastemit_lambda) * arcs.label
    )


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _loss(blank_id, fastemit_lambda, logits, logit_lengths, labels, label_lengths):
    blank, label, _ = arc_log_probs(logits, arc_targets(labels), blank_id)
    return lattice_loss(blank, label, logit_lengths, label_lengths)


def _loss_fwd(blank_id, fastemit_lambda, logits, logit_lengths, labels, label_lengths):
    blank, label, normaliser = arc_log_probs(logits, arc_targets(labels), blank_id)
    loss, arcs = lattice_loss_and_posteriors(blank, label, logit_lengths, label_lengths)
    return loss, (logits, normaliser, arcs, logit_lengths, labels, label_lengths)


def _loss_bwd(blank_id, fastemit_lambda, residuals, cotangent):
    logits, normaliser, arcs, *integers = residuals
    scaled = scale_arcs(arcs, cotangent, fastemit_lambda)
    gradient = logits_cotangent(logits, normaliser, arc_targets(integers[1]), scaled, blank_id)
    return (gradient, *map(no_cotangent, integers))


_loss.defvjp(_loss_fwd, _loss_bwd)
