import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators.design import GROUPS
from rnnt_qat.accelerators.generic_nna import GENERIC_NNA
from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.quant.ablation import NETWORKS, ablations
from rnnt_qat.quant.grid_only import GridOnly
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.precision import Float32
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.quant.sites import Role


def test_one_network_is_quantized():
    policy = policy_by_name("generic_nna@encoder")
    assert policy.resolve(("encoder", "lstm_0")) == OnAccelerator(GENERIC_NNA)
    assert policy.resolve(("joint",)) == Float32()
    mixed = policy_by_name("encoder_w4_joint_w8@encoder")
    assert mixed.resolve(("encoder", "projection")).weight_bits == 4
    assert mixed.resolve(("prediction", "lstm_0")) == Float32()


def test_parts_of_a_chip_and_of_products():
    names = [p.name for p in ablations(policy_by_name("generic_nna"))]
    assert names == [f"generic_nna@{name}" for name in (*NETWORKS, *GROUPS)]
    assert [p.name for p in ablations(policy_by_name("w8a8"))] == [f"w8a8@{n}" for n in NETWORKS]
    assert all(policy_by_name(name).name == name for name in names)


def test_every_role_is_of_one_kind():
    roles = [role for kind in GROUPS.values() for role in kind]
    assert sorted(roles, key=str) == sorted(Role, key=str)


def test_unknown_parts_are_refused():
    with pytest.raises(ValueError, match="w8a8@decoder: there is no such part; there are encoder"):
        policy_by_name("w8a8@decoder")
    with pytest.raises(ValueError, match="'w8a8' is not one chip for all layers"):
        policy_by_name("w8a8@state")


def run(policy, variables, xs, mask):
    layer = LSTM(policy, 5)
    _, ranges = LSTM(policy.calibration(), 5).apply(variables, xs, mask, mutable=[QUANT_STATS])
    return jax.jit(layer.apply)({**variables, **ranges}, xs, mask)


def test_only_the_tensors_named_are_on_the_grid():
    xs, mask = jax.random.normal(jax.random.key(0), (2, 4, 3)), jnp.ones((2, 4), bool)
    variables = LSTM(FLOAT32, 5).init(jax.random.key(1), xs, mask)
    plain, _, plain_state = run(FLOAT32, variables, xs, mask)
    ys, _, state = run(policy_by_name("generic_nna@state"), variables, xs, mask)
    for values, bits in ((ys, 7), (state.cell, 11)):
        np.testing.assert_array_equal(values, np.round(values * 2**bits) / 2**bits)
    np.testing.assert_allclose(ys, plain, atol=0.02)
    ys, _, state = run(policy_by_name("generic_nna@weights"), variables, xs, mask)
    assert not np.array_equal(ys, np.round(ys * 2**7) / 2**7)
    assert 0 < np.abs(ys - plain).max() < 0.05
    assert not np.array_equal(state.cell, plain_state.cell)


def test_gradients_pass_the_grid():
    precision = GridOnly(GENERIC_NNA, GROUPS["gates"])
    ops = precision.operators({"pre": Role.GATE_PRE, "gate": Role.GATE}, {})
    slope = jax.grad(lambda x: ops.sigmoid(ops.store("pre", x), "gate"))(0.3)
    assert float(slope) == pytest.approx(float(jax.grad(jax.nn.sigmoid)(0.3)), rel=1e-3)
