import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.fixedpoint import wide
from rnnt_qat.fixedpoint.rounding import Rounding
from tests.reference.fixedpoint_int64 import INT32_CORNERS, divide, saturate

RNG = np.random.default_rng(0)


def split(x):
    x = np.asarray(x, np.int64)
    return wide.Wide(
        jnp.asarray((x >> 32).astype(np.int32)), jnp.asarray((x & 0xFFFFFFFF).astype(np.uint32))
    )


def join(x):
    return np.asarray(x.high, np.int64) * 2**32 + np.asarray(x.low, np.int64)


def random_int64(bits, size=20_000):
    """Of every magnitude up to ``2^bits``."""
    return RNG.integers(-(2**bits), 2**bits, size) >> RNG.integers(0, bits, size)


def test_product_of_corners_and_of_a_million_pairs():
    a, b = np.meshgrid(INT32_CORNERS, INT32_CORNERS)
    a = np.concatenate([a.ravel(), RNG.integers(-(2**31), 2**31, 1_000_000)])
    b = np.concatenate([b.ravel(), RNG.integers(-(2**31), 2**31, 1_000_000)])
    product = jax.jit(wide.multiply)(jnp.asarray(a, jnp.int32), jnp.asarray(b, jnp.int32))
    np.testing.assert_array_equal(join(product), a * b)


def test_product_by_a_16_bit_factor():
    x, factor = random_int64(47), RNG.integers(0, 2**16, 20_000)
    ours = jax.jit(wide.multiply_by_uint16)(split(x), jnp.asarray(factor, jnp.int32))
    np.testing.assert_array_equal(join(ours), x * factor)


def test_sum():
    a, b = random_int64(62), random_int64(62)
    np.testing.assert_array_equal(join(wide.add(split(a), split(b))), a + b)


def test_limbs():
    high = RNG.integers(-(2**24), 2**24, 20_000)
    low = RNG.integers(-(2**31), 2**31, 20_000)
    ours = wide.from_limbs(jnp.asarray(high, jnp.int32), jnp.asarray(low, jnp.int32))
    np.testing.assert_array_equal(join(ours), high * 2**16 + low)


def test_floor_shift():
    x = np.concatenate([random_int64(62, 1000), INT32_CORNERS, INT32_CORNERS * 2**20])
    shifts = np.arange(63)[:, None]
    np.testing.assert_array_equal(
        join(wide.shift_right(split(x), jnp.asarray(shifts))), x >> shifts
    )


@pytest.mark.parametrize("rounding", Rounding)
def test_rounding_shift(rounding):
    ties = (2 * np.arange(-20, 20) + 1)[:, None] * 2 ** np.arange(54)
    x = np.concatenate([random_int64(60, 500), INT32_CORNERS, ties.ravel(), ties.ravel() + 1])
    shifts = np.arange(62)[:, None]
    ours = jax.jit(wide.rounding_shift_right, static_argnums=2)(
        split(x), jnp.asarray(shifts, jnp.int32), rounding
    )
    np.testing.assert_array_equal(join(ours), divide(x, 2**shifts, rounding))


def test_saturation_to_int32():
    x = np.concatenate([random_int64(62), INT32_CORNERS, INT32_CORNERS - 1, INT32_CORNERS + 1])
    np.testing.assert_array_equal(wide.saturate_to_int32(split(x)), saturate(x, 32))
