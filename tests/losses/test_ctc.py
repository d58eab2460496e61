import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.losses.ctc import ctc_loss
from tests.reference.ctc import ctc_float64


def enumerated(log_probs, labels):
    """All paths of one row that collapse to the labels."""
    frames, vocabulary = log_probs.shape
    total = -np.inf
    for path in itertools.product(range(vocabulary), repeat=frames):
        collapsed = [k for k, _ in itertools.groupby(path) if k]
        if collapsed == list(labels):
            total = np.logaddexp(total, sum(log_probs[t, k] for t, k in enumerate(path)))
    return -total


def test_equals_enumeration_and_leaves_impossible_rows_out():
    logits = jax.random.normal(jax.random.key(0), (5, 4, 3))
    frames = jnp.array([4, 3, 2, 2, 0])
    labels = jnp.array([[1, 2, 0], [1, 1, 0], [1, 1, 0], [2, 0, 0], [1, 0, 0]])
    lengths = jnp.array([2, 2, 2, 1, 1])
    losses = ctc_loss(logits, frames, labels, lengths)
    log_probs = np.asarray(jax.nn.log_softmax(logits), np.float64)
    for row in (0, 1, 3):
        expected = enumerated(log_probs[row, : frames[row]], labels[row, : lengths[row]])
        np.testing.assert_allclose(losses[row], expected, rtol=1e-5)
    assert losses[2] == 0  # "1 1" needs three frames
    assert losses[4] == 0


def test_gradient_is_finite_and_stays_inside_the_lengths():
    logits = jax.random.normal(jax.random.key(0), (3, 4, 3)).at[0, 2:].set(jnp.nan)
    frames, labels, lengths = jnp.array([2, 1, 4]), jnp.array([[1], [2], [1]]), jnp.array([1, 1, 1])
    gradient = jax.grad(lambda x: ctc_loss(x, frames, labels, lengths).sum())(logits)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[0, 2:], 0)
    assert np.abs(gradient[0, :2]).max() > 0


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradient_equal_a_float64_oracle(seed):
    rng = np.random.default_rng(seed)
    frames, labels = rng.integers(9, 16, 6), rng.integers(0, 5, 6)
    logits = rng.normal(size=(6, 15, 5)) * 3
    tokens = rng.integers(1, 3, (6, 4))  # two labels, so that many repeat
    losses, gradient = jax.value_and_grad(
        lambda x: ctc_loss(x, jnp.array(frames), jnp.array(tokens), jnp.array(labels)).sum()
    )(jnp.array(logits, jnp.float32))
    expected = [
        ctc_float64(logits[b, : frames[b]], tokens[b, : labels[b]]) for b in range(len(frames))
    ]
    np.testing.assert_allclose(losses, sum(loss for loss, _ in expected), rtol=1e-5)
    for b, (_, row) in enumerate(expected):
        np.testing.assert_allclose(gradient[b, : frames[b]], row, atol=2e-5)
