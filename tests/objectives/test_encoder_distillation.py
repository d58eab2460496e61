import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.objectives import EncoderDistillation
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS
from tests.objectives.forward_pass import CONFIG, batch, inputs, outputs, params

DISTANCE = EncoderDistillation()


def test_it_is_the_distance_of_the_projections_over_valid_frames():
    student, teacher = outputs(params(0)), outputs(params(1))
    terms = DISTANCE(student, teacher, batch(), 0)
    for row, frames in enumerate([5, 4, 2]):  # 10, 7 and 4, halved and rounded up
        ours, theirs = (np.asarray(o.lattice.encoded[row, :frames]) for o in (student, teacher))
        expected = ((ours - theirs) ** 2).mean(-1).sum()
        np.testing.assert_allclose(terms["encoder"][row], expected, rtol=1e-6)


def test_its_gradient_is_finite_and_stays_in_the_encoder():
    teacher = outputs(params(1))

    def loss(p):
        return DISTANCE(outputs(p), teacher, batch(), 0)["encoder"].sum()

    gradients = jax.grad(loss)(params(0))
    for network, tree in gradients.items():
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(tree))
        learns = any(np.any(g) for g in jax.tree.leaves(tree))
        assert learns == (network == "encoder"), network


def test_a_chips_projections_are_compared_by_their_real_values():
    """What is stored are integers and a scale; the distance to the network itself is small."""
    policy = policy_by_name("generic_nna")
    p, of = params(0), inputs(batch())
    _, ranges = RNNT(CONFIG, policy.calibration()).apply({"params": p}, *of, mutable=[QUANT_STATS])
    student = outputs(p, policy=policy, **ranges)
    term = DISTANCE(student, outputs(p), batch(), 0)["encoder"]
    assert np.all(term > 0)
    assert np.all(term < 1e-2)


def test_teachers_of_another_joint_are_refused():
    other = dataclasses.replace(CONFIG, joint_size=9)
    with pytest.raises(ValueError, match=r"\(3, 5, 8\) .* \(3, 5, 9\): model\.joint_size"):
        DISTANCE(outputs(params(0)), outputs(params(0, other), other), batch(), jnp.int32(0))
