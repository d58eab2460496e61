import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_qat.quant.aqt_engine import float32_carries, integer_matmul

CARRIERS = [jnp.float32, jnp.int8]


def operands(seed, rows, depth, columns):
    generator = np.random.default_rng(seed)
    x = generator.integers(-128, 128, (rows, depth))
    w = generator.integers(-127, 128, (depth, columns))
    return x, w


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 70), st.integers(1, 9))
def test_both_carriers_equal_int64(seed, rows, depth, columns):
    x, w = operands(seed, rows, depth, columns)
    for carrier in CARRIERS:
        product = integer_matmul(
            jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32), carrier=carrier
        )
        np.testing.assert_array_equal(np.asarray(product, np.int64), x @ w)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_extremes_at_the_proven_bound(carrier):
    """The largest contraction that float32 carries, all operands at their corner."""
    depth = 1024
    assert float32_carries(depth, 8, 8)
    x = jnp.full((2, depth), -128.0).at[1].set(127.0)
    w = jnp.full((depth, 1), -127.0)
    product = jax.jit(lambda x, w: integer_matmul(x, w, carrier=carrier))(x, w)
    np.testing.assert_array_equal(product[:, 0], [128 * 127 * depth, -127 * 127 * depth])


def test_every_int8_pair():
    x = jnp.arange(-128.0, 128.0)[:, None]
    w = jnp.arange(-127.0, 128.0)[None, :]
    expected = np.arange(-128, 128)[:, None] * np.arange(-127, 128)[None, :]
    for carrier in CARRIERS:
        np.testing.assert_array_equal(integer_matmul(x, w, carrier=carrier), expected)


def test_the_int8_carrier_is_an_int8_dot_accumulated_in_int32():
    x, w = jnp.zeros((2, 8)), jnp.zeros((8, 3))
    text = jax.jit(lambda x, w: integer_matmul(x, w, carrier=jnp.int8)).lower(x, w).as_text()
    assert "(tensor<2x8xi8>, tensor<8x3xi8>) -> tensor<2x3xi32>" in text


@pytest.mark.parametrize("carrier", CARRIERS)
def test_gradients_are_those_of_the_product(carrier):
    x, w = (jnp.asarray(a, jnp.float32) for a in operands(0, 5, 16, 3))
    weights = jnp.cos(jnp.arange(15.0)).reshape(5, 3)
    actual = jax.grad(
        lambda x, w: jnp.sum(weights * integer_matmul(x, w, carrier=carrier)), (0, 1)
    )(x, w)
    np.testing.assert_allclose(actual[0], weights @ w.T, rtol=1e-5)
    np.testing.assert_allclose(actual[1], x.T @ weights, rtol=1e-5)


def test_a_sum_that_float32_could_round_is_refused():
    with pytest.raises(ValueError, match="float32 cannot carry a sum of 1100"):
        integer_matmul(jnp.zeros((1, 1100)), jnp.zeros((1100, 1)), carrier=jnp.float32)


def test_contractions_past_the_bound_stay_exact_by_default():
    x, w = jnp.full((1, 1100), -128.0), jnp.full((1100, 1), 127.0)
    assert int(integer_matmul(x, w)[0, 0]) == -128 * 127 * 1100
