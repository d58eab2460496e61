import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.layers.layer_norm import LayerNorm
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.qtensor import QTensor
from tests.layers.recurrent_layer import check_near_floating_point, check_streaming, ragged
from tests.reference import layer_norm_int64


def make(policy, rematerialize=False):
    return LayerNorm(policy)


def test_is_the_textbook_normalization_without_gain_and_bias():
    xs, mask = ragged()
    ys, y_mask, _ = LayerNorm(FLOAT32).apply({}, xs, mask)
    valid = np.asarray(xs)[np.asarray(mask)]
    expected = (valid - valid.mean(1, keepdims=True)) / valid.std(1, keepdims=True)
    np.testing.assert_allclose(np.asarray(ys)[np.asarray(mask)], expected, atol=1e-5)
    assert np.array_equal(mask, y_mask)
    assert not np.asarray(ys)[~np.asarray(mask)].any()


@pytest.mark.parametrize("name", ["float32", "generic_nna"])
def test_streaming_contract(name):
    check_streaming(make, name)


def test_a_chip_computes_nearly_what_floating_point_does():
    check_near_floating_point(make, "generic_nna", 0.06)


def test_integers_are_the_oracle_s_shifted_to_the_calibrated_scale():
    """What the layer hands on, trained and served, from stored 8-bit integers."""
    rng = np.random.default_rng(0)
    integers = rng.integers(-128, 128, size=(3, 50, 24)).astype(np.float32)
    policy, ranges = policy_by_name("generic_nna"), {"input": 1.0, "normalized": 4.0}
    variables = {"quant_stats": {site: jnp.float32(most) for site, most in ranges.items()}}
    mask = jnp.ones(integers.shape[:2], bool)
    stored = QTensor(jnp.asarray(integers), jnp.float32(2.0**-7), format=QFormat(8))
    trained, *_ = LayerNorm(policy).apply(variables, stored, mask)
    served, *_ = LayerNorm(policy.for_serving()).apply(
        variables, stored.replace(values=stored.values.astype(jnp.int8)), mask
    )
    wide = layer_norm_int64.normalize(integers.astype(np.int64), 8)
    # From 10 fractional bits to the 5 of a range of 4 in 8 bits; ties away from zero.
    shifted = np.clip(np.sign(wide) * ((np.abs(wide) + 16) >> 5), -128, 127)
    np.testing.assert_array_equal(trained.values, shifted)
    np.testing.assert_array_equal(served.values, shifted)
    assert (served.values.dtype, float(served.scale)) == (jnp.int8, 2.0**-5)


def test_the_gradient_is_the_real_one_where_nothing_saturates():
    rng = np.random.default_rng(1)
    integers = jnp.asarray(rng.integers(-100, 100, size=(2, 3, 16)), jnp.float32)
    variables = {"quant_stats": {"input": jnp.float32(1.0), "normalized": jnp.float32(8.0)}}
    mask, weights = jnp.ones((2, 3), bool), jnp.asarray(rng.normal(size=(2, 3, 16)), jnp.float32)

    def on_chip(values):
        stored = QTensor(values, jnp.float32(2.0**-7), format=QFormat(8))
        ys, *_ = LayerNorm(policy_by_name("generic_nna")).apply(variables, stored, mask)
        return jnp.sum(weights * ys.values * ys.scale)

    def real(values):
        ys, *_ = LayerNorm(FLOAT32).apply({}, values, mask)
        return jnp.sum(weights * ys)

    found, expected = jax.grad(on_chip)(integers), jax.grad(real)(integers)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
