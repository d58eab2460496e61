"""Transducer lattice: alpha, beta and arc posteriors from two log-probabilities per cell.

Cell ``(t, u)`` is the state after ``t`` consumed frames and ``u`` emitted labels. Two arcs leave
it: *blank* to ``(t + 1, u)`` and *label* to ``(t, u + 1)``. Every path ends with a blank from
``(T - 1, U)`` to ``(T, U)``. The cells of an anti-diagonal ``n = t + u`` depend only on the
previous one, so the recursion is a scan over ``T + U`` diagonals of vectors ``[B, U + 1]``:

  alpha_n[u] = logaddexp(alpha_{n-1}[u] + blank_{n-1}[u], alpha_{n-1}[u-1] + label_{n-1}[u-1])
  beta_n[u]  = logaddexp(blank_n[u] + beta_{n+1}[u],      label_n[u] + beta_{n+1}[u+1])

Source: Graves, "Sequence Transduction with Recurrent Neural Networks", 2012, section 2.4. All
values are float32 in log space. Impossible arcs have the finite log-probability ``IMPOSSIBLE``, so
that ``inf - inf`` cannot occur.
"""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.typing import Array, Bool, Float, Int

IMPOSSIBLE = -1e30
"""Log-probability of an impossible arc: absorbs other terms, and sums do not overflow float32."""


@flax.struct.dataclass
class ArcPosteriors:
    """Posterior probabilities of the arcs given the labels; zero outside the lattice.

    Attributes:
      blank: posterior of the blank arc leaving each cell, in [0, 1].
      label: posterior of the label arc leaving each cell, in [0, 1].
    """

    blank: Float[Array, "B T U1"]
    label: Float[Array, "B T U1"]


class Diagonals(NamedTuple):
    """Vectors of a recursion, each relative to its largest entry to keep float32 precision.

    Attributes:
      values: log-probabilities minus ``log_scale``; at most about 0, ``IMPOSSIBLE`` outside the
        lattice.
      log_scale: offset of each vector; its magnitude grows with T + U.
    """

    values: Float[Array, "M B U1"]
    log_scale: Float[Array, "M B"]


def is_feasible(
    frame_lengths: Int[Array, "B"], label_lengths: Int[Array, "B"], max_frames: int, max_labels: int
) -> Bool[Array, "B"]:
    """Returns True for rows that have an alignment.

    Args:
      frame_lengths: valid frames of each row.
      label_lengths: valid labels of each row.
      max_frames: frames of the padded arrays.
      max_labels: labels of the padded arrays.

    Returns:
      True where a row has at least one frame and both lengths fit the padded arrays.
    """
    frames_fit = (frame_lengths > 0) & (frame_lengths <= max_frames)
    return frames_fit & (label_lengths >= 0) & (label_lengths <= max_labels)


def skew(cells: Float[Array, "B T U1"]) -> Float[Array, "N B U1"]:
    """Arranges cells by anti-diagonal, ``N = T + U``.

    ``out[t + u, b, u] = cells[b, t, u]``; other entries are ``IMPOSSIBLE``.
    """
    B, T, U1 = cells.shape
    columns = cells.transpose(0, 2, 1)
    columns = jnp.pad(columns, ((0, 0), (0, 0), (0, U1)), constant_values=IMPOSSIBLE)
    # Reading rows of length T + U1 as rows of length T + U1 - 1 shifts row u by u positions, so
    # that no gather is needed.
    shifted = columns.reshape(B, -1)[:, : U1 * (T + U1 - 1)].reshape(B, U1, T + U1 - 1)
    return shifted.transpose(2, 0, 1)


def unskew(diagonals: Float[Array, "N B U1"]) -> Float[Array, "B T U1"]:
    """Inverts ``skew``: ``out[b, t, u] = diagonals[t + u, b, u]``."""
    N, B, U1 = diagonals.shape
    T = N - U1 + 1
    rows = diagonals.transpose(1, 2, 0).reshape(B, -1)
    columns = jnp.pad(rows, ((0, 0), (0, U1))).reshape(B, U1, N + 1)[:, :, :T]
    return columns.transpose(0, 2, 1)


def mask_arcs(
    log_prob_blank: Float[Array, "B T U1"],
    log_prob_label: Float[Array, "B T U1"],
    frame_lengths: Int[Array, "B"],
    label_lengths: Int[Array, "B"],
) -> tuple[Float[Array, "B T U1"], Float[Array, "B T U1"]]:
    """Sets arcs outside the lattice of a row and arcs of probability zero to ``IMPOSSIBLE``."""
    _, T, U1 = log_prob_blank.shape
    t = jnp.arange(T)[None, :, None] < frame_lengths[:, None, None]
    u = jnp.arange(U1)[None, None, :] - label_lengths[:, None, None]
    blank = jnp.where(t & (u <= 0), log_prob_blank.astype(jnp.float32), IMPOSSIBLE)
    label = jnp.where(t & (u < 0), log_prob_label.astype(jnp.float32), IMPOSSIBLE)
    return jnp.maximum(blank, IMPOSSIBLE), jnp.maximum(label, IMPOSSIBLE)


def _shift_right(x: Float[Array, "B U1"]) -> Float[Array, "B U1"]:
    return jnp.pad(x[:, :-1], ((0, 0), (1, 0)), constant_values=IMPOSSIBLE)


def _shift_left(x: Float[Array, "B U1"]) -> Float[Array, "B U1"]:
    return jnp.pad(x[:, 1:], ((0, 0), (0, 1)), constant_values=IMPOSSIBLE)


def log_prob_alpha(blank: Float[Array, "N B U1"], label: Float[Array, "N B U1"]) -> Diagonals:
    """Computes the log-probability of reaching each cell.

    Args:
      blank: masked blank log-probabilities by diagonal (see ``mask_arcs``, ``skew``).
      label: masked label log-probabilities by diagonal.

    Returns:
      ``M = N + 1`` diagonals.
    """
    start = jnp.full(blank.shape[1:], IMPOSSIBLE).at[:, 0].set(0.0)

    def step(alpha: Array, arcs: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        blank_n, label_n = arcs
        alpha, peak = _relative(jnp.logaddexp(alpha + blank_n, _shift_right(alpha + label_n)))
        return alpha, (alpha, peak)

    _, (values, peaks) = jax.lax.scan(step, start, (blank, label))
    values = jnp.concatenate([start[None], values])
    return Diagonals(values, jnp.pad(jnp.cumsum(peaks, axis=0), ((1, 0), (0, 0))))


def log_prob_beta(
    blank: Float[Array, "N B U1"],
    label: Float[Array, "N B U1"],
    frame_lengths: Int[Array, "B"],
    label_lengths: Int[Array, "B"],
) -> Diagonals:
    """Computes the log-probability of reaching the end of the row from each cell.

    Args:
      blank: masked blank log-probabilities by diagonal (see ``mask_arcs``, ``skew``).
      label: masked label log-probabilities by diagonal.
      frame_lengths: valid frames of each row.
      label_lengths: valid labels of each row.

    Returns:
      ``M = N + 1`` diagonals.
    """
    N, _, U1 = blank.shape
    last_diagonal = frame_lengths + label_lengths
    at_end = jnp.arange(U1)[None, :] == label_lengths[:, None]

    def end(n: Array | int) -> Array:
        return at_end & (last_diagonal == n)[:, None]

    last = jnp.where(end(N), 0.0, IMPOSSIBLE)

    def step(beta: Array, arcs: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        n, blank_n, label_n = arcs
        beta, peak = _relative(jnp.logaddexp(blank_n + beta, label_n + _shift_left(beta)))
        beta = jnp.where(end(n), 0.0, beta)
        return beta, (beta, peak)

    _, (values, peaks) = jax.lax.scan(step, last, (jnp.arange(N), blank, label), reverse=True)
    values = jnp.concatenate([values, last[None]])
    return Diagonals(values, jnp.pad(jnp.cumsum(peaks[::-1], axis=0)[::-1], ((0, 1), (0, 0))))


def _relative(
    diagonal: Float[Array, "B U1"],
) -> tuple[Float[Array, "B U1"], Float[Array, "B"]]:
    peak = jnp.max(diagonal, axis=-1)
    peak = jnp.where(peak <= IMPOSSIBLE / 2, 0.0, peak)
    return jnp.maximum(diagonal - peak[:, None], IMPOSSIBLE), peak


def _loss(
    alpha: Diagonals, frame_lengths: Int[Array, "B"], label_lengths: Int[Array, "B"]
) -> Float[Array, "B"]:
    M, B, U1 = alpha.values.shape
    n, row = jnp.clip(frame_lengths + label_lengths, 0, M - 1), jnp.arange(B)
    at_end = alpha.values[n, row, jnp.clip(label_lengths, 0, U1 - 1)]
    # A label sequence of probability zero costs +inf; a row without a lattice costs nothing.
    # The probability of a certain one may round to above 1; it is no less than certain.
    cost = jnp.maximum(-(at_end + alpha.log_scale[n, row]), 0.0)
    cost = jnp.where(at_end <= IMPOSSIBLE / 2, jnp.inf, cost)
    return jnp.where(is_feasible(frame_lengths, label_lengths, M - U1, U1 - 1), cost, 0.0)


@jax.custom_vjp
def lattice_loss(
    log_prob_blank: Float[Array, "B T U1"],
    log_prob_label: Float[Array, "B T U1"],
    frame_lengths: Int[Array, "B"],
    label_lengths: Int[Array, "B"],
) -> Float[Array, "B"]:
    """Negative log-likelihood of each row's labels, float32, at least 0.

    It is 0 where ``is_feasible`` is False.

    Differentiable by the log-probabilities: the gradient is minus the arc's posterior.
    """
    blank, label = mask_arcs(log_prob_blank, log_prob_label, frame_lengths, label_lengths)
    alpha = log_prob_alpha(skew(blank), skew(label))
    return _loss(alpha, frame_lengths, label_lengths)


def lattice_loss_and_posteriors(
    log_prob_blank: Float[Array, "B T U1"],
    log_prob_label: Float[Array, "B T U1"],
    frame_lengths: Int[Array, "B"],
    label_lengths: Int[Array, "B"],
) -> tuple[Float[Array, "B"], ArcPosteriors]:
    """Computes ``lattice_loss`` and minus its gradient, the posteriors of the arcs.

    Every alignment leaves every diagonal by exactly one arc, so the posteriors of a diagonal sum to
    1. They are normalised by that sum and not by the total probability, whose rounding error grows
    with T + U.
    Posteriors are zero outside the lattice, in infeasible rows and in rows of infinite loss.
    """
    blank, label = mask_arcs(log_prob_blank, log_prob_label, frame_lengths, label_lengths)
    blank, label = skew(blank), skew(label)
    alpha = log_prob_alpha(blank, label)
    beta = log_prob_beta(blank, label, frame_lengths, label_lengths)
    loss = _loss(alpha, frame_lengths, label_lengths)

    before, after = alpha.values[:-1], beta.values[1:]
    by_blank = before + blank + after
    by_label = before + label + jax.vmap(_shift_left)(after)
    peak = jnp.max(jnp.maximum(by_blank, by_label), axis=-1, keepdims=True)
    by_blank, by_label = jnp.exp(by_blank - peak), jnp.exp(by_label - peak)
    total = jnp.sum(by_blank + by_label, axis=-1, keepdims=True)
    scale = jnp.where(peak <= IMPOSSIBLE / 2, 0.0, 1.0 / total)
    return loss, ArcPosteriors(blank=unskew(by_blank * scale), label=unskew(by_label * scale))


def no_cotangent(x: Array) -> np.ndarray:
    """Creates the cotangent that JAX requires for an integer array: zeros of dtype ``float0``."""
    return np.zeros(x.shape, jax.dtypes.float0)


def _lattice_loss_fwd(log_prob_blank, log_prob_label, frame_lengths, label_lengths):
    loss, posteriors = lattice_loss_and_posteriors(
        log_prob_blank, log_prob_label, frame_lengths, label_lengths
    )
    # Residuals must be arrays: empty ones carry the dtypes that the backward pass needs.
    dtypes = (log_prob_blank[:0], log_prob_label[:0])
    return loss, (posteriors, dtypes, frame_lengths, label_lengths)


def _lattice_loss_bwd(residuals, cotangent):
    posteriors, (blank, label), *lengths = residuals
    by_blank, by_label = (
        (-cotangent[:, None, None] * arc).astype(like.dtype)
        for arc, like in ((posteriors.blank, blank), (posteriors.label, label))
    )
    return by_blank, by_label, *map(no_cotangent, lengths)


lattice_loss.defvjp(_lattice_loss_fwd, _lattice_loss_bwd)
