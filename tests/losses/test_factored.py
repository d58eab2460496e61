from functools import partial

import flax.struct
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from rnnt_qat import losses
from rnnt_qat.losses import factored
from tests.losses.heads import EmulatedHead, FloatHead, random_head

STATIC = ("chunk_frames", "blank_id", "fastemit_lambda")


def random_batch(seed, B, T, U, J, V):
    rng = np.random.default_rng(seed)
    encoded = jnp.array(rng.normal(size=(B, T, J)), jnp.float32)
    predicted = jnp.array(rng.normal(size=(B, U + 1, J)), jnp.float32)
    frames, lengths = rng.integers(1, T + 1, B), rng.integers(0, U + 1, B)
    frames[0], lengths[0] = T, U
    labels = jnp.array(rng.integers(1, V, (B, U)))
    return encoded, predicted, jnp.array(frames), labels, jnp.array(lengths)


@partial(jax.jit, static_argnames=STATIC)
def factored_step(head, encoded, predicted, *rest, **kwargs):
    def loss(*args):
        each = losses.transducer_loss_factored(*args, *rest, **kwargs)
        return each @ (1.0 + jnp.arange(len(each))), each

    return jax.value_and_grad(loss, (0, 1, 2), has_aux=True, allow_int=True)(
        head, encoded, predicted
    )


@partial(jax.jit, static_argnames=("blank_id", "fastemit_lambda"))
def whole_step(head, encoded, predicted, *rest, **kwargs):
    def loss(head, encoded, predicted):
        logits = head(encoded[:, :, None], predicted[:, None])
        each = losses.transducer_loss(logits, *rest, **kwargs)
        return each @ (1.0 + jnp.arange(len(each))), each

    return jax.value_and_grad(loss, (0, 1, 2), has_aux=True, allow_int=True)(
        head, encoded, predicted
    )


def assert_same_step(ours, theirs, rtol=1e-5):
    """Loss and gradients equal; gradients by the largest entry of their leaf."""
    np.testing.assert_allclose(ours[0][1], theirs[0][1], rtol=1e-6, atol=1e-5)
    for mine, other in zip(jax.tree.leaves(ours[1]), jax.tree.leaves(theirs[1]), strict=True):
        assert mine.dtype == other.dtype
        if mine.dtype != jax.dtypes.float0:
            mine, other = np.asarray(mine, np.float32), np.asarray(other, np.float32)
            np.testing.assert_allclose(mine, other, atol=rtol * np.abs(other).max() + 1e-7)


@pytest.mark.parametrize("kind", [FloatHead, EmulatedHead])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_equals_the_loss_on_the_whole_lattice(kind, seed):
    head, batch = random_head(kind, seed, 6, 9), random_batch(seed, 4, 21, 6, 6, 9)
    ours = factored_step(head, *batch, fastemit_lambda=0.2)
    assert_same_step(ours, whole_step(head, *batch, fastemit_lambda=0.2))


@pytest.mark.parametrize("sizes", [(2, 1, 4), (3, 30, 0), (1, 1, 0)])
def test_equals_it_at_the_edges_of_shapes(sizes):
    B, T, U = sizes
    head, batch = random_head(FloatHead, 0, 5, 7), random_batch(1, B, T, U, 5, 7)
    assert_same_step(factored_step(head, *batch, blank_id=0), whole_step(head, *batch, blank_id=0))


def test_does_not_depend_on_the_chunk():
    head, batch = random_head(FloatHead, 1, 5, 7), random_batch(2, 6, 19, 5, 5, 7)
    whole = factored_step(head, *batch, chunk_frames=100)
    for chunk_frames in (1, 2, 3):
        step = factored_step(head, *batch, chunk_frames=chunk_frames)
        assert_same_step(step, whole, rtol=3e-6)


def test_padding_is_never_read():
    encoded, predicted, frames, labels, lengths = random_batch(3, 5, 17, 6, 5, 7)
    frames = frames.at[2].set(0)
    head = random_head(FloatHead, 2, 5, 7)
    inside_t = jnp.arange(17)[None, :, None] < frames[:, None, None]
    inside_u = jnp.arange(7)[None, :, None] <= lengths[:, None, None]
    nan = (jnp.where(inside_t, encoded, jnp.nan), jnp.where(inside_u, predicted, jnp.nan))
    clean = factored_step(head, encoded, predicted, frames, labels, lengths)
    dirty = factored_step(head, *nan, frames, labels, lengths)
    for mine, other in zip(jax.tree.leaves(dirty), jax.tree.leaves(clean), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert dirty[0][1][2] == 0
    assert not np.asarray(dirty[1][1][2]).any()


def test_nan_inside_the_lattice_is_not_hidden():
    encoded, *rest = random_batch(4, 2, 9, 3, 5, 7)
    rest[1] = jnp.array([9, 9])
    step = factored_step(random_head(FloatHead, 3, 5, 7), encoded.at[0, 4].set(jnp.nan), *rest)
    assert np.isnan(step[0][1][0])
    assert np.isfinite(step[0][1][1])
    assert np.isnan(step[1][1][0]).any()


def test_a_batch_of_padding_rows_costs_nothing():
    encoded, predicted, frames, labels, lengths = random_batch(5, 3, 9, 3, 5, 7)
    step = factored_step(
        random_head(FloatHead, 4, 5, 7), encoded, predicted, 0 * frames, labels, lengths
    )
    for leaf in jax.tree.leaves(step):
        assert leaf.dtype == jax.dtypes.float0 or not np.asarray(leaf).any()


def test_bfloat16_gradients_are_summed_in_float32():
    encoded, predicted, *rest = random_batch(6, 3, 40, 8, 6, 9)
    head = random_head(FloatHead, 5, 6, 9)
    half = [
        jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x, y)
        for y in (head, encoded, predicted)
    ]
    ours, theirs = factored_step(*half, *rest), factored_step(head, encoded, predicted, *rest)
    assert ours[0][1].dtype == jnp.float32
    assert ours[1][1].dtype == jnp.bfloat16
    np.testing.assert_allclose(ours[0][1], theirs[0][1], rtol=1e-2)
    mine, other = np.asarray(ours[1][0].kernel, np.float32), theirs[1][0].kernel
    np.testing.assert_allclose(mine, other, atol=0.03 * np.abs(other).max())


def test_passing_over_dead_cells_changes_no_digit_that_counts(monkeypatch):
    """Half of this lattice is below the floor; every frame's gradient stays within its rounding."""
    head, batch = random_head(FloatHead, 6, 6, 9), random_batch(7, 2, 150, 40, 6, 9)
    batch = (*batch[:2], jnp.array([150, 150]), batch[3], jnp.array([40, 40]))
    skipping = factored_step(head, *batch)
    monkeypatch.setattr(factored, "OCCUPANCY_FLOOR", 0.0)
    factored_step.clear_cache()
    assert_same_step(skipping, factored_step(head, *batch), rtol=1e-6)
    factored_step.clear_cache()


def test_memory_does_not_grow_with_time_beyond_the_cells():
    """Doubling T adds the gradient, its padded copies and some numbers a cell, but no logits."""

    def temporary(T):
        head, batch = random_head(FloatHead, 7, 32, 512), random_batch(8, 2, T, 15, 32, 512)
        compiled = factored_step.lower(head, *batch, chunk_frames=8).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    short, long = temporary(256), temporary(512)
    more_cells, more_frames = 2 * 256 * 16, 2 * 256 * 32
    assert long - short < 4 * (24 * more_cells + 6 * more_frames)
    assert long < 2 * 512 * 16 * 512 * 4 / 4  # a quarter of the logits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": np.zeros((3, 5, 4), np.float32)}, "differ in B"),
        ({"chunk_frames": 0}, "chunk_frames is 0"),
        ({"labels": np.zeros((2, 5), int)}, r"labels have shape \(2, 5\).*needs \(2, 4\)"),
    ],
)
@pytest.mark.unchecked_annotations
def test_arguments_that_do_not_fit_are_refused(change, message):
    given = {
        "head": random_head(FloatHead, 0, 4, 6),
        "encoded": np.zeros((2, 6, 4), np.float32),
        "predicted": np.zeros((2, 5, 4), np.float32),
        "encoded_lengths": np.full(2, 6),
        "labels": np.ones((2, 4), int),
        "label_lengths": np.full(2, 4),
    }
    with pytest.raises(ValueError, match=message):
        losses.transducer_loss_factored(**{**given, **change})


@flax.struct.dataclass
class PairHead:
    """Takes a frame in two arrays, one of them integers, and so a label position."""

    head: FloatHead

    def __call__(self, encoded, predicted):
        (fine, coarse), (label_fine, label_coarse) = encoded, predicted
        return self.head(fine + coarse, label_fine + label_coarse)


def test_frames_and_labels_may_be_trees_with_integers():
    head, (encoded, predicted, *rest) = (
        random_head(FloatHead, 3, 5, 7),
        random_batch(4, 3, 11, 4, 5, 7),
    )

    def halves(x):
        coarse = jnp.floor(x)
        return x - coarse, coarse.astype(jnp.int32)

    loss, (d_head, *d_inputs) = factored_step(head, encoded, predicted, *rest)
    found, (d_pair, *d_halves) = factored_step(
        PairHead(head), halves(encoded), halves(predicted), *rest
    )
    np.testing.assert_allclose(found[1], loss[1], rtol=1e-6)
    np.testing.assert_allclose(d_pair.head.kernel, d_head.kernel, rtol=1e-4, atol=1e-5)
    for (d_fine, d_coarse), d in zip(d_halves, d_inputs, strict=True):
        np.testing.assert_allclose(d_fine, d, rtol=1e-4, atol=1e-5)
        assert d_coarse.dtype == jax.dtypes.float0


def test_a_batch_of_no_rows_has_no_losses():
    head = random_head(FloatHead, 0, 4, 5)
    rows = jnp.zeros((0, 6, 4)), jnp.zeros((0, 3, 4))
    rest = jnp.zeros(0, int), jnp.zeros((0, 2), int), jnp.zeros(0, int)
    assert losses.transducer_loss_factored(head, *rows, *rest).shape == (0,)
    by_rows = jax.grad(lambda e: losses.transducer_loss_factored(head, e, rows[1], *rest).sum())
    assert by_rows(rows[0]).shape == (0, 6, 4)
    simple = jnp.zeros((0, 6, 5)), jnp.zeros((0, 3, 5))
    both = losses.transducer_loss_pruned(head, *rows, *simple, *rest)
    assert [each.shape for each in both] == [(0,), (0,)]


@pytest.mark.parametrize("kind", [FloatHead, EmulatedHead])
def test_arcs_and_their_gradients_equal_those_of_the_whole_lattice(kind):
    """Gradients of a function that raises some arcs and lowers others, by autodiff of logits."""
    head, (encoded, predicted, frames, labels, lengths) = (
        random_head(kind, 3, 6, 9),
        random_batch(4, 3, 11, 5, 6, 9),
    )
    t, u = jnp.arange(11)[None, :, None], jnp.arange(6)[None, None, :]
    inside = (t < frames[:, None, None]) & (u <= lengths[:, None, None])
    labelled = inside & (u < lengths[:, None, None])
    weights = np.random.default_rng(5).normal(size=(2, 3, 11, 6)).astype(np.float32)

    def value(arcs):
        blank, label = arcs
        blank, label = jnp.where(inside, blank, 0), jnp.where(labelled, label, 0)
        # In every second frame the weights of a cell's arcs cancel.
        label = jnp.where(t % 2 == 0, -weights[0] * label, weights[1] * jnp.sin(label))
        return jnp.sum(weights[0] * blank + label)

    def tiled(*floats):
        return value(losses.lattice_arcs_factored(*floats, frames, labels, lengths))

    def whole(head, encoded, predicted):
        log_probs = jax.nn.log_softmax(head(encoded[:, :, None], predicted[:, None]))
        index = jnp.pad(labels, ((0, 0), (0, 1)))[:, None, :, None]
        index = jnp.broadcast_to(index, (*log_probs.shape[:3], 1))
        return value((log_probs[..., 0], jnp.take_along_axis(log_probs, index, -1)[..., 0]))

    ours, theirs = (
        jax.jit(jax.value_and_grad(f, (0, 1, 2), allow_int=True))(head, encoded, predicted)
        for f in (tiled, whole)
    )
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    for mine, other in zip(jax.tree.leaves(ours[1]), jax.tree.leaves(theirs[1]), strict=True):
        if mine.dtype != jax.dtypes.float0:
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=2e-5)
