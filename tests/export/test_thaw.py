import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.export.freeze import freeze
from rnnt_qat.export.thaw import ThawError, first_difference, scale_to_range, thaw
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.quantized_module import QUANT_STATS
from rnnt_qat.quant.scales import range_to_scale
from rnnt_qat.serving.freeze import frozen_variables
from tests.experiment import tiny


def test_a_range_gives_every_scale_back():
    kernel = ETHOS_U_8X8_16.tensor(Role.WEIGHT)
    rng = np.random.default_rng(0)
    scales = range_to_scale(kernel, jnp.asarray(np.exp(rng.normal(0, 4, 2000)), jnp.float32))
    assert np.array_equal(range_to_scale(kernel, scale_to_range(kernel, scales)), scales)
    coarse = dataclasses.replace(kernel, scale_bits=5)
    scales = range_to_scale(coarse, jnp.asarray(np.exp(rng.normal(0, 4, 2000)), jnp.float32))
    assert np.array_equal(range_to_scale(coarse, scale_to_range(coarse, scales)), scales)
    with pytest.raises(ThawError, match="cannot have the scale"):
        scale_to_range(coarse, jnp.float32(1.0001))


@pytest.mark.slow
def test_the_thawed_variables_are_the_frozen_ones():
    """Every parameter; and every range whose scale the chip reads."""
    made = tiny.recognizer()
    frozen = frozen_variables(made.model, made.variables)
    thawed = thaw(freeze(made.model, made.variables), made.policy)
    del frozen["params"]["ctc"]
    assert jax.tree.all(
        jax.tree.map(
            lambda a, b: np.array_equal(a, b), frozen["params"], thawed.variables["params"]
        )
    )
    assert jax.tree.structure(frozen[QUANT_STATS]) == jax.tree.structure(
        thawed.variables[QUANT_STATS]
    )


@pytest.mark.slow
def test_accumulators_of_more_than_32_bits_come_back():
    made = tiny.recognizer()
    policy = policy_by_name("ethos_u_16x8")
    calibrating = RNNT(made.config.model, policy.calibration())
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, 4, made.frontend.config.feature_size)).astype(np.float32)
    batch = (features, np.array([4]), np.array([[1, 5]]), np.array([2]))
    params = made.variables["params"]
    empty = jax.eval_shape(calibrating.init, jax.random.key(0), *batch)[QUANT_STATS]
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), empty)
    _, ranges = calibrating.apply({"params": params, QUANT_STATS: empty}, *batch, mutable=True)
    model = RNNT(made.config.model, policy)
    integers = freeze(model, {"params": params, QUANT_STATS: ranges[QUANT_STATS]})
    thaw(integers, policy)  # compares


def test_another_policy_is_refused():
    with pytest.raises(ThawError, match="frozen under"):
        thaw(tiny.artefact().model, policy_by_name("ethos_u_16x8"))


def test_differences_are_named():
    model = tiny.artefact().model
    bias = model.joint.output.bias + 1
    output = dataclasses.replace(model.joint.output, bias=bias)
    other = dataclasses.replace(model, joint=dataclasses.replace(model.joint, output=output))
    assert first_difference(model, model) == ""
    assert first_difference(model, other) == "model.joint.output.bias"
