import dataclasses

import jax
import numpy as np
import pytest

from rnnt_qat.objectives import LatticeDistillation
from tests.objectives.forward_pass import CONFIG, batch, outputs, params

DIVERGENCE = LatticeDistillation()


def outcomes(made, row, frames, labels):
    """Probabilities [frames, labels + 1, 3] of blank, next label and the rest, in float64."""
    lattice = made.lattice
    logits = lattice.head(lattice.encoded[:, :, None], lattice.predicted[:, None])
    logits = np.asarray(logits[row, :frames, : labels + 1], np.float64)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    tokens = np.asarray(batch().labels[row])
    label = np.stack([p[:, u, tokens[u]] for u in range(labels)] + [np.zeros(frames)], axis=1)
    return np.stack([p[..., 0], label, 1 - p[..., 0] - label], axis=-1)


def test_it_is_the_divergence_of_three_outcomes_in_every_cell():
    teacher, student = outputs(params(1)), outputs(params(0))
    terms = DIVERGENCE(student, teacher, batch(), 0)["lattice"]
    for row, (frames, labels) in enumerate([(5, 4), (4, 2), (2, 1)]):
        t, s = (outcomes(made, row, frames, labels) for made in (teacher, student))
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = np.where(t > 0, t * np.log(t / s), 0).sum() / (labels + 1)
        np.testing.assert_allclose(terms[row], expected, rtol=1e-4)
        assert expected > 1e-3


def test_the_teacher_itself_is_at_no_distance():
    made = outputs(params())
    np.testing.assert_allclose(DIVERGENCE(made, made, batch(), 0)["lattice"], 0, atol=1e-6)


@pytest.mark.slow
def test_descent_approaches_the_teacher_through_all_networks():
    teacher = outputs(params(1))

    def loss(p):
        return DIVERGENCE(outputs(p), teacher, batch(), 0)["lattice"].sum()

    value, gradients = jax.jit(jax.value_and_grad(loss))(params(0))
    for network in ("encoder", "prediction", "joint"):
        leaves = jax.tree.leaves(gradients[network])
        assert all(np.isfinite(g).all() for g in leaves), network
        assert any(np.any(g) for g in leaves), network
    square = sum(float((g**2).sum()) for g in jax.tree.leaves(gradients))
    step = 0.01 * value / square  # to first order, a hundredth less
    moved = jax.tree.map(lambda p, g: p - step * g, params(0), gradients)
    np.testing.assert_allclose(jax.jit(loss)(moved), 0.99 * value, rtol=2e-3)


def test_teachers_of_another_vocabulary_are_refused():
    other = dataclasses.replace(CONFIG, vocabulary=9)
    with pytest.raises(ValueError, match=r"\(5, 7\) cannot imitate the teacher's \(5, 9\)"):
        DIVERGENCE(outputs(params(0)), outputs(params(0, other), other), batch(), 0)
