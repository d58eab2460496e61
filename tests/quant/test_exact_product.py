import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.fixedpoint.dot import Accumulator
from rnnt_qat.fixedpoint.saturation import Overflow
from rnnt_qat.quant.exact_product import EXACT_PRODUCTS, product_int8, product_int16
from tests.reference.fixedpoint_int64 import saturate, wrap

RNG = np.random.default_rng(0)


def total(product):
    parts = [part for part in (product.values, product.low) if part is not None]
    found = sum(np.asarray(part, np.int64) for part in parts)
    if product.integers is not None:
        np.testing.assert_array_equal(product.integers, found)
    return found


def extreme(low, high, shape):
    """Integers of full range, with a row of the worst case."""
    x = RNG.integers(low, high + 1, shape)
    x[0] = low
    return x


@pytest.mark.parametrize("depth", [1, EXACT_PRODUCTS, EXACT_PRODUCTS + 1, 3000])
@pytest.mark.parametrize("with_bias", [False, True])
def test_int8_at_and_past_what_float32_carries(depth, with_bias):
    x, w = extreme(-128, 127, (4, depth)), extreme(-127, 127, (5, depth)).T
    bias = RNG.integers(-(2**22), 2**22, 5) if with_bias else None
    product = product_int8(
        jnp.asarray(x, jnp.float32),
        jnp.asarray(w, jnp.float32),
        None if bias is None else jnp.asarray(bias, jnp.float32),
        Accumulator(),
    )
    np.testing.assert_array_equal(total(product), x @ w + (0 if bias is None else bias))


@pytest.mark.parametrize(
    ("overflow", "bring"), [(Overflow.SATURATE, saturate), (Overflow.WRAP, wrap)]
)
@pytest.mark.parametrize("tile", [None, 16])
def test_int8_in_a_narrow_accumulator(overflow, bring, tile):
    x, w = np.abs(extreme(-127, 127, (4, 96))), np.abs(extreme(-127, 127, (5, 96)).T)
    expected = np.zeros((4, 5), np.int64)
    for k in range(0, 96, tile or 96):
        expected = bring(expected + x[:, k : k + (tile or 96)] @ w[k : k + (tile or 96)], 20)
    values = jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32)
    product = product_int8(*values, None, Accumulator(20, overflow, tile))
    np.testing.assert_array_equal(total(product), expected)
    assert np.any(expected != x @ w)
    slope = jax.grad(lambda x: product_int8(x, values[1], None, Accumulator(20))[0].sum())(
        values[0]
    )
    np.testing.assert_array_equal(slope, np.broadcast_to(w.sum(1), x.shape))


@pytest.mark.parametrize("depth", [1, 300, EXACT_PRODUCTS + 1])
def test_int16_by_int8(depth):
    x, w = extreme(-(2**15), 2**15 - 1, (4, depth)), extreme(-127, 127, (5, depth)).T
    bias = (RNG.integers(-(2**20), 2**20, 5) * 2**15).astype(np.float32)
    product = product_int16(
        jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32), jnp.asarray(bias)
    )
    np.testing.assert_array_equal(total(product), x @ w + bias.astype(np.int64))
    assert np.all(np.asarray(product[0]) % 2**16 == 0)
    assert np.all((np.asarray(product[1]) >= 0) & (np.asarray(product[1]) < 2**16))
