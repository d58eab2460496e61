import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.quant.integer_matmul import IntegerMatmulOperators
from rnnt_qat.quant.operators import FloatOperators
from rnnt_qat.quant.qtensor import QTensor
from rnnt_qat.quant.quantized_module import check_calibrated
from rnnt_qat.quant.straight_through import quantize_straight_through

OPS = IntegerMatmulOperators(max_abs={"input": jnp.float32(4.0)}, weight_bits=8, activation_bits=8)


def test_product_equals_int64_on_the_stored_integers():
    generator = np.random.default_rng(0)
    x = OPS.store("input", jnp.asarray(generator.normal(size=(3, 40)), jnp.float32))
    w = OPS.weight("kernel", jnp.asarray(generator.normal(size=(40, 7)), jnp.float32))
    product = np.asarray(x.values, np.int64) @ np.asarray(w.values, np.int64)
    expected = product.astype(np.float32) * np.asarray(x.scale * w.scale)
    np.testing.assert_array_equal(OPS.accumulate(x, w), expected)


def test_product_of_16_bit_operands_is_exact_before_it_is_real():
    generator = np.random.default_rng(0)
    ops = OPS.replace(activation_bits=16)
    x = ops.store("input", jnp.asarray(2 * generator.normal(size=(3, 400)), jnp.float32))
    assert jnp.abs(x.values).max() > 2**14
    w = ops.weight("kernel", jnp.asarray(generator.normal(size=(400, 7)), jnp.float32))
    product = np.asarray(x.values, np.int64) @ np.asarray(w.values, np.int64)
    expected = product.astype(np.float32) * np.asarray(x.scale * w.scale)
    np.testing.assert_array_equal(ops.accumulate(x, w), expected)
    gradient = jax.grad(lambda x: ops.accumulate(ops.store("input", x), w).sum())(
        x.values * x.scale
    )
    np.testing.assert_allclose(gradient[0], (w.values * w.scale).sum(axis=1), rtol=1e-5)


def test_weights_fill_their_grid_and_keep_their_gradient():
    w = jnp.asarray(np.random.default_rng(0).normal(size=(40, 7)), jnp.float32)
    stored = OPS.weight("kernel", w)
    np.testing.assert_array_equal(jnp.abs(stored.values).max(axis=0), 127)
    gradient = jax.grad(
        lambda w: jnp.sum(OPS.weight("kernel", w).values * OPS.weight("kernel", w).scale)
    )(w)
    np.testing.assert_allclose(gradient, 1.0, rtol=1e-6)


def test_round_trip_through_a_scan():
    x = OPS.store("input", jnp.linspace(-5, 5, 11))
    again = OPS.load("input", OPS.values(x))
    np.testing.assert_array_equal(again.values, x.values)
    assert again.scale == x.scale


def test_sites_that_feed_no_product_stay_real():
    assert not isinstance(OPS.store("cell", jnp.ones(3)), QTensor)


def test_a_float_layer_takes_what_a_quantized_one_made():
    x = OPS.store("input", jnp.array([1.0, -4.0]))
    np.testing.assert_allclose(FloatOperators().input("input", x), [1.0, -4.0], atol=0.02)


@pytest.mark.parametrize(
    ("x", "value", "gradient"),
    [
        (0.0, 0, 1),
        (2.5, 3, 1),  # ties go away from zero
        (-2.5, -3, 1),
        (0.49999997, 0, 1),
        (127.4, 127, 1),  # rounds to the bound: not saturated
        (127.6, 127, 0),
        (-127.4, -127, 1),
        (-1e9, -127, 0),
    ],
)
def test_straight_through(x, value, gradient):
    def quantize(x):
        return quantize_straight_through(x, jnp.float32(1.0), -127, 127)

    assert quantize(jnp.float32(x)) == value
    assert jax.grad(quantize)(jnp.float32(x)) == gradient


def test_ranges_that_calibration_never_reached_are_named():
    ranges = {"encoder": {"lstm_0": {"input": jnp.float32(2.0), "hidden": jnp.float32(0.0)}}}
    with pytest.raises(ValueError, match="no range was calibrated for encoder/lstm_0/hidden"):
        check_calibrated(ranges)
