"""Transducer loss from encoder and prediction projections, without the logits of the whole lattice.

The joint is evaluated on a few tiles of the lattice at a time. The forward pass keeps three numbers
per cell: the log-sum-exp and the two arc log-probabilities. The backward pass evaluates the joint
again and passes the gradient with respect to the logits of each tile through ``jax.vjp`` of the
joint. Beyond these numbers, the inputs and their gradients, memory is needed only for the current
tiles.

The backward pass processes only tiles in which the posterior of some cell exceeds
``OCCUPANCY_FLOOR / max(T, U + 1)``. The total posterior of every frame and every label position is
at least 1, because each alignment crosses it. The part of a gradient that is left out is therefore
smaller than the unit roundoff of float32, relative to the weight of the frame or label. The
alignments of a trained model are sharp, so most of the lattice is skipped.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from rnnt_qat.losses.lattice import (
    IMPOSSIBLE,
    ArcPosteriors,
    lattice_loss,
    lattice_loss_and_posteriors,
    no_cotangent,
)
from rnnt_qat.losses.tiles import TILE_FRAMES, TILE_LABELS, Tiling, add, for_each_tile, put, take
from rnnt_qat.losses.transducer import (
    arc_log_probs,
    arc_targets,
    check_lattice_shapes,
    logits_cotangent,
    scale_arcs,
)
from rnnt_qat.typing import BLANK_ID, Array, Bool, Float, Int, PyTree

OCCUPANCY_FLOOR = 2.0**-24
"""Unit roundoff of float32."""


@runtime_checkable
class JointHead(Protocol):
    """A joint network as a callable pytree, e.g. a ``flax.struct.dataclass`` of its parameters.

    The joint may compute in floating point or emulate integers with custom gradients: the loss uses
    only ``jax.vjp`` of the call. Float leaves receive gradients, integer leaves do not. Each output
    vector must depend only on its own pair of inputs.
    """

    def __call__(self, encoded: PyTree, predicted: PyTree) -> Float[Array, "N T U V"]:
        """Computes the logits of all pairs of frames and label positions.

        It is called as ``head(encoded[:, :, None], predicted[:, None])``.

        Args:
          encoded: inputs of each frame: an array ``[N, T, 1, ...]`` or a pytree of arrays, e.g. of
            both integers and floats (``Addend``).
          predicted: inputs of each label position, ``[N, 1, U, ...]``, likewise.

        Returns:
          Unnormalised scores over the vocabulary, any float dtype.
        """


def transducer_loss_factored(
    head: JointHead,
    encoded: PyTree,
    predicted: PyTree,
    encoded_lengths: Int[Array, "B"],
    labels: Int[Array, "B U"],
    label_lengths: Int[Array, "B"],
    *,
    band: Bool[Array, "B T U1"] | None = None,
    chunk_frames: int = 2,
    blank_id: int = BLANK_ID,
    fastemit_lambda: float = 0.0,
) -> Float[Array, "B"]:
    """Computes the exact transducer loss of each row from the inputs of the joint.

    The loss is differentiable with respect to ``head``, ``encoded`` and ``predicted``.

    Args:
      head: the joint (see ``JointHead``).
      encoded: encoder projections ``[B, T, J]``, or a pytree of arrays ``[B, T, ...]`` that the
        head accepts; NaN is allowed in the padding.
      predicted: prediction projections ``[B, U + 1, J]``, or a pytree likewise; column ``u`` is the
        prediction after ``u`` labels.
      encoded_lengths: valid frames of each row, in [0, T].
      labels: tokens, never ``blank_id`` within the length.
      label_lengths: valid labels of each row, in [0, U].
      band: cells that alignments may use, rounded up to tiles. None allows all cells; only then is
        the loss exact (see ``rnnt_qat.losses.pruned``).
      chunk_frames: sets the memory for logits, at least 1: about ``B * chunk_frames * (U + 1)``
        cells have logits at the same time. On a CPU small values are fastest, because the logits
        then stay in the cache; on an accelerator use as many as memory allows.
      blank_id: index of the blank in the vocabulary.
      fastemit_lambda: strength of FastEmit; 0 gives the gradient of the plain likelihood.

    Returns:
      Negative log-likelihood of each row in nats, float32, with the conventions of
      ``transducer_loss``.

    Raises:
      ValueError: the shapes are inconsistent, or ``chunk_frames`` is below 1.
    """
    lattice = _lattice(
        encoded, predicted, encoded_lengths, labels, label_lengths, band, chunk_frames
    )
    if not len(labels):
        return jnp.zeros(0, jnp.float32)
    static = _Static(lattice.tiling, lattice.tiles_per_turn, blank_id, float(fastemit_lambda))
    inputs = lattice.encoded, lattice.predicted, lattice.live
    return _loss(static, head, *inputs, encoded_lengths, labels, label_lengths)


def lattice_arcs_factored(
    head: JointHead,
    encoded: PyTree,
    predicted: PyTree,
    encoded_lengths: Int[Array, "B"],
    labels: Int[Array, "B U"],
    label_lengths: Int[Array, "B"],
    *,
    chunk_frames: int = 2,
    blank_id: int = BLANK_ID,
) -> tuple[Float[Array, "B T U1"], Float[Array, "B T U1"]]:
    """Computes the log-probabilities of the arcs of every cell from the inputs of the joint.

    They are differentiable with respect to ``head``, ``encoded`` and ``predicted``; arguments are
    those of ``transducer_loss_factored``. Memory for logits is needed for the current tiles only.

    Returns:
      Log-probabilities of the blank and of the next label, float32. Values in the padding, and
      those of the label after the last one, have no meaning.

    Raises:
      ValueError: the shapes are inconsistent, or ``chunk_frames`` is below 1.
    """
    lattice = _lattice(
        encoded, predicted, encoded_lengths, labels, label_lengths, None, chunk_frames
    )
    if not len(labels):
        empty = jnp.zeros((0, lattice.tiling.frames, lattice.tiling.columns))
        return empty, empty
    static = _Static(lattice.tiling, lattice.tiles_per_turn, blank_id, 0.0, signed_arcs=True)
    return _log_probs(static, head, lattice.encoded, lattice.predicted, lattice.live, labels)


class _Lattice(NamedTuple):
    tiling: Tiling
    tiles_per_turn: int
    encoded: PyTree
    predicted: PyTree
    live: Bool[Array, "N1"]


def _lattice(
    encoded: PyTree,
    predicted: PyTree,
    encoded_lengths: Int[Array, "B"],
    labels: Int[Array, "B U"],
    label_lengths: Int[Array, "B"],
    band: Bool[Array, "B T U1"] | None,
    chunk_frames: int,
) -> _Lattice:
    """Checks the arguments of a loss, clears the padding of its inputs and divides its lattice."""
    (B, T), (rows, U1) = (jax.tree.leaves(x)[0].shape[:2] for x in (encoded, predicted))
    if rows != B:
        raise ValueError(f"encoded and predicted differ in B: {B} and {rows} rows")
    if chunk_frames < 1:
        raise ValueError(f"chunk_frames is {chunk_frames}, expected at least 1")
    check_lattice_shapes((B, T, U1), encoded_lengths, labels, label_lengths)
    if band is not None and band.shape != (B, T, U1):
        raise ValueError(f"band has shape {band.shape}, expected {(B, T, U1)}")
    # NaN in the padding must not reach the gradient of the joint as 0 * NaN.
    encoded = _zero_padding(encoded, _valid(encoded_lengths, T))
    predicted = _zero_padding(predicted, _valid(label_lengths + 1, U1))
    tiling = Tiling(B, T, U1)
    cells_per_turn = chunk_frames * U1 * B
    tiles_per_turn = min(max(1, cells_per_turn // (TILE_FRAMES * TILE_LABELS)), tiling.count)
    cells = _valid(encoded_lengths, T)[:, :, None] & _valid(label_lengths + 1, U1)[:, None, :]
    live = tiling.cut_cells(cells if band is None else cells & band).any((1, 2))
    return _Lattice(tiling, tiles_per_turn, encoded, predicted, live)


class _Static(NamedTuple):
    tiling: Tiling
    tiles_per_turn: int
    blank_id: int
    fastemit_lambda: float
    signed_arcs: bool = False


def _valid(lengths: Int[Array, "B"], size: int) -> Array:
    return jnp.arange(size)[None, :] < lengths[:, None]


def _zero_padding(x: PyTree, valid: Bool[Array, "B N"]) -> PyTree:
    return jax.tree.map(lambda x: jnp.where(valid[..., None], x, 0), x)


def _pairs(frames: PyTree, columns: PyTree) -> tuple[PyTree, PyTree]:
    """Adds axes so that frames and columns broadcast over the lattice of their pairs."""
    return jax.tree.map(lambda x: x[:, :, None], frames), jax.tree.map(
        lambda x: x[:, None], columns
    )


def _arcs(static, head, encoded, predicted, live, labels):
    """Computes blank and label log-probabilities and log-sum-exp of the cells of live tiles."""
    tiling = static.tiling
    frames = jax.tree.map(tiling.cut_frames, encoded)
    columns = jax.tree.map(tiling.cut_columns, predicted)
    targets = tiling.cut_columns(arc_targets(labels))

    def body(cells, tiles):
        frame_tile, label_tile = tiling.position(tiles)
        logits = head(*_pairs(_take(frames, frame_tile), _take(columns, label_tile)))
        found = arc_log_probs(logits, take(targets, label_tile), static.blank_id)
        return tuple(put(x, tiles, values) for x, values in zip(cells, found, strict=True))

    empty = jnp.full((*live.shape, TILE_FRAMES, TILE_LABELS), IMPOSSIBLE)
    cells = for_each_tile(live, static.tiles_per_turn, body, (empty, empty, empty))
    return tuple(map(tiling.join_cells, cells))


def _take(x: PyTree, index: Int[Array, "K"]) -> PyTree:
    return jax.tree.map(lambda x: take(x, index), x)


def _is_float(x: Array) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def _floats(x: PyTree) -> list[Array]:
    return [leaf for leaf in jax.tree.leaves(x) if _is_float(leaf)]


def _replace_floats(x: PyTree, floats: list[Array], others: Callable[[Array], Any]) -> Any:
    """Replaces the float leaves of ``x`` in order and applies ``others`` to the other leaves."""
    replacements = iter(floats)
    return jax.tree.map(lambda x: next(replacements) if _is_float(x) else others(x), x)


def _cotangent(x: PyTree, gradients: list[Array]) -> Any:
    """Builds the cotangent of ``x`` from the gradients of its float leaves."""
    typed = [g.astype(jnp.result_type(leaf)) for g, leaf in zip(gradients, _floats(x), strict=True)]
    return _replace_floats(x, typed, no_cotangent)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(static, head, encoded, predicted, live, encoded_lengths, labels, label_lengths):
    blank, label, _ = _arcs(static, head, encoded, predicted, live, labels)
    return lattice_loss(blank, label, encoded_lengths, label_lengths)


def _loss_fwd(static, head, encoded, predicted, live, encoded_lengths, labels, label_lengths):
    blank, label, normaliser = _arcs(static, head, encoded, predicted, live, labels)
    loss, posteriors = lattice_loss_and_posteriors(blank, label, encoded_lengths, label_lengths)
    integers = (live, encoded_lengths, labels, label_lengths)
    return loss, (head, encoded, predicted, normaliser, posteriors, integers)


def _loss_bwd(static, residuals, cotangent):
    head, encoded, predicted, normaliser, posteriors, integers = residuals
    tiling, (_, _, labels, _) = static.tiling, integers
    floor = OCCUPANCY_FLOOR / max(tiling.frames, tiling.columns)
    # "Not below" instead of "above" keeps tiles with NaN live, so that NaN is not hidden.
    live = tiling.cut_cells(~(posteriors.blank + posteriors.label <= floor)).any((1, 2))
    weights = scale_arcs(posteriors, cotangent, static.fastemit_lambda)
    gradients = _pull_back(static, head, encoded, predicted, live, labels, normaliser, weights)
    return (*gradients, *map(no_cotangent, integers))


def _pull_back(static, head, encoded, predicted, live, labels, normaliser, weights):
    """Returns the gradients of head and projections for the weights of arcs in live tiles."""
    tiling = static.tiling
    frames = jax.tree.map(tiling.cut_frames, encoded)
    columns = jax.tree.map(tiling.cut_columns, predicted)
    targets = tiling.cut_columns(arc_targets(labels))
    cells = jax.tree.map(tiling.cut_cells, (normaliser, weights))
    inputs = head, frames, columns

    def body(gradients, tiles):
        frame_tile, label_tile = tiling.position(tiles)
        here = head, _take(frames, frame_tile), _take(columns, label_tile)

        def joint(*floats):
            head, frames, columns = (
                _replace_floats(x, replacements, lambda x: x)
                for x, replacements in zip(here, floats, strict=True)
            )
            return head(*_pairs(frames, columns))

        logits, pullback = jax.vjp(joint, *map(_floats, here))
        normaliser_here, weights_here = jax.tree.map(lambda x: take(x, tiles), cells)
        by_parameters, by_frames, by_columns = pullback(
            logits_cotangent(
                logits,
                normaliser_here,
                take(targets, label_tile),
                weights_here,
                static.blank_id,
                static.signed_arcs,
            )
        )
        d_parameters, d_frames, d_columns = gradients
        return (
            jax.tree.map(jnp.add, d_parameters, by_parameters),
            [add(d, frame_tile, by) for d, by in zip(d_frames, by_frames, strict=True)],
            [add(d, label_tile, by) for d, by in zip(d_columns, by_columns, strict=True)],
        )

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), tuple(map(_floats, inputs)))
    d_parameters, d_frames, d_columns = for_each_tile(live, static.tiles_per_turn, body, zeros)
    return (
        _cotangent(head, d_parameters),
        _cotangent(encoded, [tiling.join_frames(d) for d in d_frames]),
        _cotangent(predicted, [tiling.join_columns(d) for d in d_columns]),
    )


_loss.defvjp(_loss_fwd, _loss_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _log_probs(static, head, encoded, predicted, live, labels):
    return _arcs(static, head, encoded, predicted, live, labels)[:2]


def _log_probs_fwd(static, head, encoded, predicted, live, labels):
    *log_probs, normaliser = _arcs(static, head, encoded, predicted, live, labels)
    return tuple(log_probs), (head, encoded, predicted, live, labels, normaliser)


def _log_probs_bwd(static, residuals, cotangents):
    head, encoded, predicted, live, labels, normaliser = residuals
    # The loss is the negative of a log-probability, so its posteriors are negative gradients.
    weights = ArcPosteriors(*(-d for d in cotangents))
    gradients = _pull_back(static, head, encoded, predicted, live, labels, normaliser, weights)
    return (*gradients, no_cotangent(live), no_cotangent(labels))


_log_probs.defvjp(_log_probs_fwd, _log_probs_bwd)
