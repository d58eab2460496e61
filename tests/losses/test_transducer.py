from functools import partial
from itertools import product

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jax.test_util import check_grads

from rnnt_qat import losses
from tests.reference import transducer_lattice as reference

transducer_loss = jax.jit(losses.transducer_loss, static_argnames=("blank_id", "fastemit_lambda"))


def random_batch(seed, B, T, U, V, blank_id=0, scale=2.0):
    """Logits, lengths that differ wildly, labels."""
    rng = np.random.default_rng(seed)
    logits = (scale * rng.normal(size=(B, T, U + 1, V))).astype(np.float32)
    frames = rng.integers(1, T + 1, B)
    lengths = rng.integers(0, U + 1, B)
    frames[0], lengths[0] = T, U
    labels = (blank_id + rng.integers(1, V, (B, U))) % V
    return logits, frames, labels, lengths


@partial(jax.jit, static_argnames=("blank_id", "fastemit_lambda"))
def gradient(logits, frames, labels, lengths, **kwargs):
    return jax.grad(lambda x: transducer_loss(x, frames, labels, lengths, **kwargs).sum())(logits)


def arrays(batch):
    return tuple(map(jnp.asarray, batch))


@pytest.mark.parametrize("blank_id", [0, 2])
def test_equals_enumeration_of_all_alignments(blank_id):
    sizes = list(product(range(1, 5), range(5)))
    rng = np.random.default_rng(blank_id)
    logits = rng.normal(size=(len(sizes), 4, 5, 5)).astype(np.float32) * 2
    labels = (blank_id + rng.integers(1, 5, (len(sizes), 4))) % 5
    frames, lengths = (jnp.array(x) for x in zip(*sizes, strict=True))
    ours = transducer_loss(jnp.array(logits), frames, labels, lengths, blank_id=blank_id)
    for b, (T, U) in enumerate(sizes):
        theirs = reference.enumerated_loss(logits[b, :T, : U + 1], labels[b, :U], blank_id)
        np.testing.assert_allclose(ours[b], theirs, rtol=2e-6, err_msg=f"T {T}, U {U}")


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    blank_id=st.sampled_from([0, 6]),
    fastemit_lambda=st.sampled_from([0.0, 0.5]),
    scale=st.sampled_from([0.1, 2.0, 20.0]),
)
def test_equals_the_float64_loops_on_ragged_batches(seed, blank_id, fastemit_lambda, scale):
    batch = random_batch(seed, 4, 9, 5, 7, blank_id, scale)
    loss = transducer_loss(*arrays(batch), blank_id=blank_id, fastemit_lambda=fastemit_lambda)
    np.testing.assert_allclose(loss, reference.loss(*batch, blank_id), rtol=2e-6, atol=2e-5)
    ours = gradient(*arrays(batch), blank_id=blank_id, fastemit_lambda=fastemit_lambda)
    theirs = reference.logits_gradient(*batch, blank_id, fastemit_lambda)
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_equals_numeric_gradients():
    logits, *rest = arrays(random_batch(0, 2, 4, 3, 4))
    weights = jnp.array([1.0, -0.7])
    check_grads(
        lambda x: weights * transducer_loss(x, *rest), (logits,), 1, modes=["rev"], rtol=1e-2
    )


def test_rows_carry_their_own_cotangents():
    logits, *rest = arrays(random_batch(1, 3, 6, 4, 5))
    loss, pullback = jax.vjp(lambda x: transducer_loss(x, *rest), logits)
    each = gradient(logits, *rest)
    (scaled,) = pullback(jnp.array([0.0, -2.0, 0.5]))
    np.testing.assert_allclose(scaled[0], np.zeros_like(scaled[0]))
    np.testing.assert_allclose(scaled[1], -2.0 * each[1], rtol=1e-6)
    np.testing.assert_allclose(scaled[2], 0.5 * each[2], rtol=1e-6)
    assert loss.shape == (3,)


def test_padding_is_never_read():
    logits, frames, labels, lengths = random_batch(2, 5, 8, 4, 6)
    frames[3] = 0
    dirty = logits.copy()
    for b, (T, U) in enumerate(zip(frames, lengths, strict=True)):
        dirty[b, T:] = np.nan
        dirty[b, :, U + 1 :] = np.nan
    clean = arrays((logits, frames, labels, lengths))
    dirty = arrays((dirty, frames, labels, lengths))
    np.testing.assert_array_equal(transducer_loss(*dirty), transducer_loss(*clean))
    np.testing.assert_array_equal(gradient(*dirty), gradient(*clean))
    assert transducer_loss(*dirty)[3] == 0
    assert not np.asarray(gradient(*dirty)[3]).any()


def test_a_vocabulary_entry_may_be_impossible():
    logits, *rest = random_batch(3, 2, 5, 3, 6)
    logits[..., 5] = -np.inf
    rest[1] = np.minimum(rest[1], 4)
    batch = arrays((logits, *rest))
    np.testing.assert_allclose(transducer_loss(*batch), reference.loss(logits, *rest), rtol=2e-6)
    assert np.isfinite(gradient(*batch)).all()


def test_huge_logits_do_not_overflow():
    logits, *rest = random_batch(4, 2, 6, 3, 5, scale=1e4)
    batch = arrays((logits, *rest))
    np.testing.assert_allclose(transducer_loss(*batch), reference.loss(logits, *rest), rtol=1e-6)
    assert np.isfinite(gradient(*batch)).all()


def test_bfloat16_logits_have_a_float32_loss():
    logits, *rest = arrays(random_batch(5, 3, 20, 8, 16))
    half = logits.astype(jnp.bfloat16)
    loss = transducer_loss(half, *rest)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, transducer_loss(half.astype(jnp.float32), *rest), rtol=1e-6)
    ours, theirs = gradient(half, *rest), gradient(half.astype(jnp.float32), *rest)
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_allclose(ours.astype(jnp.float32), theirs, rtol=1e-2, atol=1e-6)


def test_fastemit_leaves_the_loss_and_scales_label_arcs():
    batch = random_batch(6, 3, 7, 4, 5)
    plain, fast = (transducer_loss(*arrays(batch), fastemit_lambda=x) for x in (0.0, 0.3))
    np.testing.assert_array_equal(plain, fast)
    theirs = reference.logits_gradient(*batch, fastemit_lambda=0.3)
    np.testing.assert_allclose(
        gradient(*arrays(batch), fastemit_lambda=0.3), theirs, rtol=1e-4, atol=1e-6
    )


def test_no_second_array_of_logits_is_held():
    """Given up, the logits' own buffer takes the gradient; the rest is a few numbers a cell."""
    B, T, U, V = 2, 40, 10, 256
    logits, *rest = arrays(random_batch(7, B, T, U, V))
    step = jax.jit(jax.value_and_grad(lambda x, *r: transducer_loss(x, *r).sum()), donate_argnums=0)
    memory = step.lower(logits, *rest).compile().memory_analysis()
    assert memory.alias_size_in_bytes >= logits.nbytes
    assert memory.temp_size_in_bytes < logits.nbytes / 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros((2, 3), int)}, r"labels have shape \(2, 3\).*needs \(2, 4\)"),
        ({"logit_lengths": np.zeros(3, int)}, r"frame lengths have shape \(3,\)"),
        ({"label_lengths": np.zeros(3, int)}, r"label_lengths have shape \(3,\)"),
        ({"logits": np.zeros((2, 0, 5, 7), np.float32)}, "no frames"),
        ({"blank_id": 7}, "blank_id 7 is outside the vocabulary of 7"),
    ],
)
@pytest.mark.unchecked_annotations
def test_shapes_that_do_not_fit_are_refused(change, message):
    given = {
        "logits": np.zeros((2, 6, 5, 7), np.float32),
        "logit_lengths": np.full(2, 6),
        "labels": np.ones((2, 4), int),
        "label_lengths": np.full(2, 4),
    }
    with pytest.raises(ValueError, match=message):
        losses.transducer_loss(**{**given, **change})


def test_what_is_certain_costs_nothing_and_never_less():
    """Seen: -2.4e-7 from probabilities that round to above 1."""
    rng = np.random.default_rng(0)
    labels = jnp.asarray(rng.integers(1, 7, (64, 4)))
    frames, lengths = jnp.full(64, 9), jnp.full(64, 4)
    logits = rng.normal(size=(64, 9, 5, 7)).astype(np.float32)
    for b, t, u in product(range(64), range(9), range(5)):
        sure = int(labels[b, u]) if t == 2 * u and u < 4 else 0  # one alignment, all but certain
        logits[b, t, u, sure] += rng.uniform(15, 19)
    loss = transducer_loss(jnp.asarray(logits), frames, labels, lengths)
    assert loss.min() >= 0
    assert loss.max() < 1e-4


def test_a_batch_of_no_rows_has_no_losses():
    empty = jnp.zeros((0, 3, 2, 5)), jnp.zeros(0, int), jnp.zeros((0, 1), int), jnp.zeros(0, int)
    assert transducer_loss(*empty).shape == (0,)
    assert gradient(*empty).shape == (0, 3, 2, 5)
