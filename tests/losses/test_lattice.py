import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.losses import lattice
from rnnt_qat.losses.lattice import IMPOSSIBLE, is_feasible, mask_arcs, skew, unskew
from tests.reference import transducer_lattice as reference

lattice_loss = jax.jit(lattice.lattice_loss)
lattice_loss_and_posteriors = jax.jit(lattice.lattice_loss_and_posteriors)
log_prob_alpha, log_prob_beta = jax.jit(lattice.log_prob_alpha), jax.jit(lattice.log_prob_beta)


def random_arcs(seed, B, T, U):
    """Proper log-probabilities: blank, label and the rest of the vocabulary share 1."""
    logits = np.random.default_rng(seed).normal(size=(B, T, U + 1, 3)) * 2
    log_probs = reference.log_softmax(logits).astype(np.float32)
    return log_probs[..., 0], log_probs[..., 1]


@pytest.mark.parametrize(("T", "U"), [(1, 0), (1, 4), (5, 0), (3, 2), (4, 7)])
def test_skew_puts_a_diagonal_in_a_row(T, U):
    cells = np.arange(1.0, 1 + 2 * T * (U + 1), dtype=np.float32).reshape(2, T, U + 1)
    diagonals = np.asarray(skew(jnp.asarray(cells)))
    assert diagonals.shape == (T + U, 2, U + 1)
    for n in range(T + U):
        for u in range(U + 1):
            expected = cells[:, n - u, u] if 0 <= n - u < T else IMPOSSIBLE
            np.testing.assert_array_equal(diagonals[n, :, u], np.float32(expected))
    np.testing.assert_array_equal(unskew(jnp.asarray(diagonals)), cells)


LENGTHS = [(12, 5), (1, 5), (12, 0), (1, 0), (7, 3), (2, 5)]


@pytest.mark.parametrize("seed", range(3))
def test_recursions_equal_the_float64_loops(seed):
    blank, label = random_arcs(seed, len(LENGTHS), 12, 5)
    frames, labels = (jnp.array(x) for x in zip(*LENGTHS, strict=True))
    masked = [skew(x) for x in mask_arcs(jnp.asarray(blank), jnp.asarray(label), frames, labels)]
    alpha = jax.device_get(log_prob_alpha(*masked))
    beta = jax.device_get(log_prob_beta(*masked, frames, labels))
    loss, posteriors = jax.device_get(lattice_loss_and_posteriors(blank, label, frames, labels))
    np.testing.assert_array_equal(loss, lattice_loss(blank, label, frames, labels))
    for b, (T, U) in enumerate(LENGTHS):
        row = reference.lattice(blank[b, :T, : U + 1], label[b, :T, : U + 1])
        np.testing.assert_allclose(loss[b], -row.log_prob, rtol=1e-6)
        for t in range(T):
            for u in range(U + 1):
                for ours, theirs in ((alpha, row.alpha), (beta, row.beta)):
                    value = ours.values[t + u, b, u] + ours.log_scale[t + u, b]
                    np.testing.assert_allclose(value, theirs[t, u], rtol=2e-6, atol=2e-6)
        for ours, theirs in (
            (posteriors.blank, row.blank_posterior),
            (posteriors.label, row.label_posterior),
        ):
            np.testing.assert_allclose(ours[b, :T, : U + 1], theirs, rtol=1e-5, atol=1e-7)
            outside = ours[b].copy()
            outside[:T, : U + 1] = 0
            assert not outside.any()


def test_alpha_times_beta_is_the_likelihood_on_every_diagonal():
    blank, label = random_arcs(1, len(LENGTHS), 12, 5)
    frames, labels = (jnp.array(x) for x in zip(*LENGTHS, strict=True))
    masked = [skew(x) for x in mask_arcs(jnp.asarray(blank), jnp.asarray(label), frames, labels)]
    alpha, beta = log_prob_alpha(*masked), log_prob_beta(*masked, frames, labels)
    each = jax.nn.logsumexp(alpha.values + beta.values, axis=-1) + alpha.log_scale + beta.log_scale
    loss = lattice_loss(blank, label, frames, labels)
    for b, (T, U) in enumerate(LENGTHS):
        np.testing.assert_allclose(each[: T + U + 1, b], -loss[b], rtol=1e-6)


def test_every_frame_is_left_once_and_every_label_emitted_once():
    blank, label = random_arcs(2, 1, 30, 9)
    _, arcs = lattice_loss_and_posteriors(blank, label, jnp.array([30]), jnp.array([9]))
    np.testing.assert_allclose(arcs.blank[0].sum(1), np.ones(30), rtol=1e-6)
    np.testing.assert_allclose(arcs.label[0, :, :9].sum(0), np.ones(9), rtol=1e-6)


def test_posteriors_stay_accurate_on_long_lattices():
    """Normalising by the total probability instead was off by 1.6e-3 at T 2000, U 400."""
    T, U = 700, 150
    blank, label = random_arcs(3, 1, T, U)
    loss, arcs = lattice_loss_and_posteriors(blank, label, jnp.array([T]), jnp.array([U]))
    row = reference.lattice(blank[0], label[0])
    np.testing.assert_allclose(loss[0], -row.log_prob, rtol=3e-7)
    np.testing.assert_allclose(arcs.blank[0], row.blank_posterior, atol=1e-5)
    np.testing.assert_allclose(arcs.label[0], row.label_posterior, atol=1e-5)


def test_rows_without_a_lattice_cost_nothing():
    blank, label = random_arcs(4, 5, 6, 3)
    frames, labels = jnp.array([0, 7, 6, 6, 6]), jnp.array([2, 2, 4, -1, 3])
    feasible = is_feasible(frames, labels, 6, 3)
    np.testing.assert_array_equal(feasible, [False, False, False, False, True])
    loss, arcs = lattice_loss_and_posteriors(blank, label, frames, labels)
    np.testing.assert_array_equal(loss[:4], np.zeros(4))
    assert np.isfinite(loss[4])
    assert loss[4] > 0
    assert np.isfinite(arcs.blank).all()
    assert np.isfinite(arcs.label).all()


def test_labels_of_probability_zero_cost_infinity_without_gradient():
    blank, label = random_arcs(5, 1, 6, 3)
    label[0, :, 1] = -np.inf
    loss, arcs = lattice_loss_and_posteriors(blank, label, jnp.array([6]), jnp.array([3]))
    assert loss[0] == np.inf
    assert not np.asarray(arcs.blank).any()
    assert not np.asarray(arcs.label).any()


def test_nan_inside_the_lattice_is_not_hidden():
    blank, label = random_arcs(6, 2, 6, 3)
    blank[0, 2, 1] = np.nan
    loss = lattice_loss(blank, label, jnp.array([6, 6]), jnp.array([3, 3]))
    assert np.isnan(loss[0])
    assert np.isfinite(loss[1])
