"""The joint as the loss calls it, every frame with every label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.models.joint import JOINT_SITES, JointHead
from rnnt_qat.quant.policies import policy_by_name


@pytest.mark.parametrize("name", ["float32", "w8a8", "generic_nna", "ethos_u_8x8_16"])
def test_the_lattices_head_is_the_joint_in_value_and_gradient(name):
    rng = np.random.default_rng(0)
    precision = policy_by_name(name).resolve(("joint",))
    ranges = {"encoded": 6.0, "predicted": 1.5, "hidden_pre": 5.0, "hidden": 1.0, "logits": 3.0}
    calibrated = precision.calibrated_roles()
    ranges = {k: jnp.float32(v) for k, v in ranges.items() if JOINT_SITES[k] in calibrated}
    kernel, bias, encoded, predicted = (
        jnp.asarray(rng.normal(0, 2.0, shape), jnp.float32)
        for shape in ((6, 5), (5,), (2, 7, 6), (2, 4, 6))
    )
    weights = jnp.asarray(rng.normal(size=(2, 7, 4, 5)), jnp.float32)

    def weighed(on_lattice, kernel, bias, encoded, predicted):
        ops = precision.operators(JOINT_SITES, ranges)
        head = JointHead(ops, ops.weight("kernel", kernel), bias)
        inputs = tuple(
            ops.values(ops.store(site, x))
            for site, x in (("encoded", encoded), ("predicted", predicted))
        )
        if on_lattice:
            head, *inputs = head.on_lattice(*inputs)
        frames, labels = (
            jax.tree.map(lambda x, axis=axis: jnp.expand_dims(x, axis), values)
            for values, axis in zip(inputs, (2, 1), strict=True)
        )
        logits = head(frames, labels)
        return (logits * weights).sum(), logits

    step = jax.value_and_grad(weighed, (1, 2, 3, 4), has_aux=True)
    ours, joints = (step(way, kernel, bias, encoded, predicted) for way in (True, False))
    jax.tree.map(np.testing.assert_array_equal, ours, joints)
