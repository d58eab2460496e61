from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat import losses
from rnnt_qat.losses.lattice import ArcPosteriors, lattice_loss, lattice_loss_and_posteriors
from rnnt_qat.losses.pruned import choose_band, simple_arcs
from tests.losses.heads import FloatHead, random_head
from tests.losses.test_factored import random_batch

V = 9


def simple_parts(seed, encoded, predicted):
    rng = np.random.default_rng(seed)
    kernel = jnp.array(rng.normal(size=(encoded.shape[-1], V)), jnp.float32)
    return encoded @ kernel, predicted @ kernel


@partial(jax.jit, static_argnames=("width",))
def pruned_loss(head, batch, simple, width):
    return losses.transducer_loss_pruned(head, *batch[:2], *simple, *batch[2:], width=width)


def test_simple_joiner_is_the_softmax_of_the_sum_with_its_gradient():
    encoded, predicted, *rest = random_batch(0, 4, 12, 5, 6, V)
    parts = simple_parts(0, encoded, predicted)

    def ours(parts):
        frames, _, lengths = rest
        return lattice_loss(*simple_arcs(*parts, *rest), frames, lengths)

    def theirs(parts):
        return losses.transducer_loss(parts[0][:, :, None] + parts[1][:, None], *rest)

    np.testing.assert_allclose(jax.jit(ours)(parts), jax.jit(theirs)(parts), rtol=1e-5)
    our_gradient = jax.jit(jax.grad(lambda p: ours(p).sum()))(parts)
    their_gradient = jax.jit(jax.grad(lambda p: theirs(p).sum()))(parts)
    for mine, other in zip(our_gradient, their_gradient, strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-5)


@pytest.mark.parametrize("apart", [50.0, 87.0, 300.0])
def test_simple_joiner_of_peaks_that_lie_far_apart(apart):
    """Every product of exponentials underflows; the softmax of the sum is as good as any other."""
    encoded, predicted, *rest = random_batch(5, 3, 8, 4, 6, V)
    parts = simple_parts(5, encoded, predicted)
    parts = parts[0].at[:, ::2, 3].add(apart), parts[1].at[:, :, 5].add(apart)

    def ours(parts):
        frames, _, lengths = rest
        return lattice_loss(*simple_arcs(*parts, *rest), frames, lengths)

    def theirs(parts):
        return losses.transducer_loss(parts[0][:, :, None] + parts[1][:, None], *rest)

    np.testing.assert_allclose(jax.jit(ours)(parts), jax.jit(theirs)(parts), rtol=1e-5)
    gradients = (jax.jit(jax.grad(lambda p, f=f: f(p).sum()))(parts) for f in (ours, theirs))
    for mine, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(mine, other, atol=5e-5)


def test_simple_joiner_never_reads_padding():
    encoded, predicted, frames, labels, lengths = random_batch(1, 4, 12, 5, 6, V)
    parts = simple_parts(1, encoded, predicted)
    inside_t = jnp.arange(12)[None, :, None] < frames[:, None, None]
    inside_u = jnp.arange(6)[None, :, None] <= lengths[:, None, None]
    dirty = (jnp.where(inside_t, parts[0], jnp.nan), jnp.where(inside_u, parts[1], jnp.nan))

    @jax.jit
    @jax.grad
    def gradient(parts):
        return lattice_loss(*simple_arcs(*parts, frames, labels, lengths), frames, lengths).sum()

    for mine, other in zip(gradient(dirty), gradient(parts), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_band_as_wide_as_the_labels_is_exact():
    head, batch = random_head(FloatHead, 0, 6, V), random_batch(2, 4, 20, 7, 6, V)
    pruned, _ = pruned_loss(head, batch, simple_parts(2, *batch[:2]), width=8)
    exact = jax.jit(losses.transducer_loss_factored)(head, *batch)
    np.testing.assert_array_equal(pruned, exact)


def test_fewer_alignments_cost_more_and_a_good_band_loses_little():
    """The real joint here is the simple joiner but for a bend: its band holds most alignments."""
    B, T, U = 4, 64, 30
    encoded, predicted, _, labels, _ = random_batch(3, B, T, U, V, V)
    frames, lengths = jnp.full(B, T), jnp.full(B, U)
    head = FloatHead(20 * jnp.eye(V), jnp.zeros(V), jnp.int32(0))
    batch = (0.1 * encoded, 0.1 * predicted, frames, labels, lengths)
    exact = jax.jit(losses.transducer_loss_factored)(head, *batch)
    narrow, _ = pruned_loss(head, batch, (2 * encoded, 2 * predicted), width=2)
    wide, _ = pruned_loss(head, batch, (2 * encoded, 2 * predicted), width=16)
    assert np.isfinite(narrow).all()
    assert (narrow > exact + 5).all()
    assert (wide >= exact - 1e-3).all()
    assert (wide < exact + 1).all()


def test_gradient_is_that_of_the_band_alone():
    """Numbers, by moving one weight of the joint."""
    head, batch = random_head(FloatHead, 1, 6, V), random_batch(4, 2, 40, 18, 6, V)
    simple = simple_parts(4, *batch[:2])

    def loss(kernel):
        return pruned_loss(head.replace(kernel=kernel), batch, simple, width=3)[0].sum()

    direction = jnp.array(np.random.default_rng(0).normal(size=head.kernel.shape), jnp.float32)
    analytic = (jax.grad(loss)(head.kernel) * direction).sum()
    step = 1e-2
    numeric = (loss(head.kernel + step * direction) - loss(head.kernel - step * direction)) / (
        2 * step
    )
    np.testing.assert_allclose(analytic, numeric, rtol=1e-2)


@pytest.mark.parametrize("width", [2, 3, 5])
def test_bands_can_be_walked(width):
    rng = np.random.default_rng(width)
    B, T, U1 = 6, 30, 14
    frames, lengths = rng.integers(10, T + 1, B), rng.integers(0, 10, B)
    frames[0], lengths[0] = T, U1 - 1
    arcs = rng.random((2, B, T, U1)).astype(np.float32) ** 8
    band = np.asarray(
        choose_band(ArcPosteriors(*arcs), jnp.array(frames), jnp.array(lengths), width)
    )
    for b in range(B):
        start = band[b, : frames[b]].argmax(1)
        assert start[0] == 0
        assert band[b, frames[b] - 1, lengths[b]]
        assert (band[b, : frames[b]].sum(1) == min(width, U1)).all()
        assert (np.diff(start) >= 0).all()
        assert (np.diff(start) <= width - 1).all()


def test_the_band_follows_the_posterior():
    """One sure alignment, a label every four frames: it lies inside the narrowest band."""
    T, U = 40, 9
    due = jnp.arange(T)[:, None] >= 4 * (jnp.arange(U + 1)[None, :] + 1)
    label = jnp.where(due, -1e-3, -7.0)[None]
    blank = jnp.where(due, -7.0, -1e-3)[None]
    lengths = jnp.array([T]), jnp.array([U])
    _, posteriors = lattice_loss_and_posteriors(blank, label, *lengths)
    band = choose_band(posteriors, *lengths, width=2)
    inside = jnp.where(band, posteriors.blank + posteriors.label, 0).sum()
    assert inside / (T + U) > 0.98


@pytest.mark.unchecked_annotations
def test_a_band_needs_room_to_climb():
    with pytest.raises(ValueError, match="width is 1"):
        pruned_loss(None, (jnp.zeros((1, 2, 3)),) * 5, (jnp.zeros((1, 2, 3)),) * 2, width=1)
