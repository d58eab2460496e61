"""Transducer loss from encoder and prediction projections: the lattice's logits never exist whole.

The joint is evaluated over a few frames at a time, once forward (keeping the log-sum-exp and the two
arc log-probabilities of every cell) and once more backward, where the gradient by the chunk's logits
goes through ``jax.vjp`` of the joint at once. Memory beyond ``[B, T, U + 1]`` numbers and the
gradients themselves is that of one chunk.
"""

from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp

from rnnt_qat.losses.lattice import ArcPosteriors, lattice_loss, lattice_loss_and_posteriors
from rnnt_qat.losses.transducer import (
    arc_log_probs,
    arc_targets,
    check_lattice_shapes,
    logits_cotangent,
    no_cotangent,
    scale_arcs,
)
from rnnt_qat.typing import BLANK_ID, Array, Float, Int


class JointHead(Protocol):
    """The joint as a callable pytree (a ``flax.struct.dataclass`` whose leaves are its parameters).

    It may compute in floats or emulate integers with custom gradients; the loss goes only through
    ``jax.vjp`` of the call. Float leaves receive gradients, integer leaves none. Each output
    vector may depend only on its own pair of input vectors.
    """

    def __call__(
        self, encoded: Float[Array, "*#S J"], predicted: Float[Array, "*#S J"]
    ) -> Float[Array, "*S V"]:
        """Logits of each pair; leading axes broadcast: ``head(encoded[:, :, None], predicted[:, None])``."""


def transducer_loss_factored(
    head: JointHead,
    encoded: Float[Array, "B T J"],
    predicted: Float[Array, "B U1 J"],
    encoded_lengths: Int[Array, "B"],
    labels: Int[Array, "B U"],
    label_lengths: Int[Array, "B"],
    *,
    chunk_frames: int = 8,
    blank_id: int = BLANK_ID,
    fastemit_lambda: float = 0.0,
) -> Float[Array, "B"]:
    """Exact transducer loss of each row, differentiable by ``head``, ``encoded`` and ``predicted``.

    Args:
      head: the joint (see ``JointHead``).
      encoded: encoder projections; NaN is allowed in the padding.
      predicted: prediction projections, row ``u`` after ``u`` labels; NaN is allowed in the padding.
      encoded_lengths: valid frames a row, in [0, T].
      labels: tokens, never ``blank_id`` inside the length.
      label_lengths: valid labels a row, in [0, U].
      chunk_frames: frames whose logits exist at one time, at least 1: memory against speed.
      blank_id: index of the blank in the vocabulary.
      fastemit_lambda: strength of FastEmit; 0 is the plain likelihood's gradient.

    Returns:
      Negative log-likelihood in nats, float32, with the conventions of ``transducer_loss``.

    Raises:
      ValueError: shapes do not fit each other, or ``chunk_frames`` is below 1.
    """
    lattice_shape = (*encoded.shape[:2], predicted.shape[1])
    if predicted.shape[0] != encoded.shape[0]:
        raise ValueError(f"encoded {encoded.shape} and predicted {predicted.shape} differ in B")
    if chunk_frames < 1:
        raise ValueError(f"chunk_frames is {chunk_frames}, expected at least 1")
    check_lattice_shapes(lattice_shape, encoded_lengths, labels, label_lengths)
    # NaN in the padding must not reach the joint's own gradient as 0 * NaN.
    encoded = jnp.where(_inside(encoded_lengths, encoded.shape[1]), encoded, 0)
    predicted = jnp.where(_inside(label_lengths + 1, predicted.shape[1]), predicted, 0)
    static = (min(chunk_frames, encoded.shape[1]), blank_id, float(fastemit_lambda))
    return _loss(static, head, encoded, predicted, encoded_lengths, labels, label_lengths)


def _inside(lengths: Int[Array, "B"], size: int) -> Array:
    return (jnp.arange(size)[None, :] < lengths[:, None])[..., None]


def _split(x: Array, chunk_frames: int) -> Array:
    """``[B, T, ...] -> [chunks, B, chunk_frames, ...]``, zero frames appended."""
    B, T = x.shape[:2]
    chunks = -(-T // chunk_frames)
    x = jnp.pad(x, ((0, 0), (0, chunks * chunk_frames - T), *[(0, 0)] * (x.ndim - 2)))
    return jnp.moveaxis(x.reshape(B, chunks, chunk_frames, *x.shape[2:]), 1, 0)


def _join(x: Array, frames: int) -> Array:
    """Inverse of ``_split``."""
    x = jnp.moveaxis(x, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :frames]


def _lattice(static, head, encoded, predicted, labels):
    """Arc log-probabilities and log-sum-exp of every cell."""
    chunk_frames, blank_id, _ = static
    targets = arc_targets(labels)

    def chunk(chunk_encoded):
        logits = head(chunk_encoded[:, :, None], predicted[:, None])
        return arc_log_probs(logits, targets, blank_id)

    cells = jax.lax.map(chunk, _split(encoded, chunk_frames))
    return tuple(_join(x, encoded.shape[1]) for x in cells)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(static, head, encoded, predicted, encoded_lengths, labels, label_lengths):
    blank, label, _ = _lattice(static, head, encoded, predicted, labels)
    return lattice_loss(blank, label, encoded_lengths, label_lengths)


def _loss_fwd(static, head, encoded, predicted, encoded_lengths, labels, label_lengths):
    blank, label, normaliser = _lattice(static, head, encoded, predicted, labels)
    loss, arcs = lattice_loss_and_posteriors(blank, label, encoded_lengths, label_lengths)
    integers = (encoded_lengths, labels, label_lengths)
    return loss, (head, encoded, predicted, normaliser, arcs, integers)


def _loss_bwd(static, residuals, cotangent):
    chunk_frames, blank_id, fastemit_lambda = static
    head, encoded, predicted, normaliser, arcs, integers = residuals
    targets = arc_targets(integers[1])
    arcs = scale_arcs(arcs, cotangent, fastemit_lambda)
    leaves, treedef = jax.tree.flatten(head)
    is_float = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
    floats = [leaf for leaf, f in zip(leaves, is_float, strict=True) if f]

    def logits_of(floats, chunk_encoded, predicted):
        remaining = iter(floats)
        merged = [next(remaining) if f else x for x, f in zip(leaves, is_float, strict=True)]
        chunk_head = jax.tree.unflatten(treedef, merged)
        return chunk_head(chunk_encoded[:, :, None], predicted[:, None])

    def chunk(carry, xs):
        chunk_encoded, chunk_normaliser, chunk_blank, chunk_label = xs
        logits, pullback = jax.vjp(logits_of, floats, chunk_encoded, predicted)
        chunk_arcs = ArcPosteriors(blank=chunk_blank, label=chunk_label)
        d_logits = logits_cotangent(logits, chunk_normaliser, targets, chunk_arcs, blank_id)
        d_floats, d_encoded, d_predicted = pullback(d_logits)
        carry = jax.tree.map(lambda c, d: c + d.astype(c.dtype), carry, (d_floats, d_predicted))
        return carry, d_encoded

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), (floats, predicted))
    xs = (encoded, normaliser, arcs.blank, arcs.label)
    (d_floats, d_predicted), d_encoded = jax.lax.scan(
        chunk, zeros, tuple(_split(x, chunk_frames) for x in xs)
    )
    d_floats = iter([d.astype(x.dtype) for d, x in zip(d_floats, floats, strict=True)])
    d_leaves = [
        next(d_floats) if f else no_cotangent(x) for x, f in zip(leaves, is_float, strict=True)
    ]
    d_head = jax.tree.unflatten(treedef, d_leaves)
    d_encoded = _join(d_encoded, encoded.shape[1])
    return d_head, d_encoded, d_predicted.astype(predicted.dtype), *map(no_cotangent, integers)


_loss.defvjp(_loss_fwd, _loss_bwd)
