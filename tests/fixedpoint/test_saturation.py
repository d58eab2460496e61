import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.fixedpoint.saturation import (
    Overflow,
    fit,
    int_range,
    saturating_add,
)
from tests.reference.fixedpoint_int64 import INT32_CORNERS, saturate, wrap

INT8 = np.arange(-128, 128)


def test_sums_of_every_pair_of_int8():
    x = jnp.asarray(INT8, jnp.int32)
    np.testing.assert_array_equal(
        saturating_add(x[:, None], x, 8), saturate(INT8[:, None] + INT8, 8)
    )


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_sums_of_the_corners_of_int32(bits):
    x = jnp.asarray(INT32_CORNERS, jnp.int32)
    expected = saturate(INT32_CORNERS[:, None] + INT32_CORNERS, bits)
    np.testing.assert_array_equal(saturating_add(x[:, None], x, bits), expected)


@pytest.mark.parametrize(
    ("overflow", "oracle"), [(Overflow.SATURATE, saturate), (Overflow.WRAP, wrap)]
)
@pytest.mark.parametrize("bits", [2, 8, 16, 20, 32])
def test_fit(overflow, oracle, bits):
    x = np.concatenate([INT32_CORNERS, np.arange(-300, 300)])
    np.testing.assert_array_equal(fit(jnp.asarray(x, jnp.int32), bits, overflow), oracle(x, bits))


def test_narrow_range_is_symmetric():
    assert int_range(8) == (-128, 127)
    assert int_range(8, narrow=True) == (-127, 127)
