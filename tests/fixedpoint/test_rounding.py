import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_qat.fixedpoint.rounding import Rounding, round_real, rounding_shift_right
from tests.reference.fixedpoint_int64 import INT32_CORNERS, INT32_MAX, INT32_MIN, divide

ALL_INT16 = np.arange(-(2**15), 2**15)
int32s = st.integers(INT32_MIN, INT32_MAX)


@pytest.mark.parametrize("rounding", Rounding)
def test_every_int16_by_every_shift(rounding):
    shifts = np.arange(18)[:, None]
    x = jnp.broadcast_to(jnp.asarray(ALL_INT16, jnp.int32), (18, 2**16))
    ours = rounding_shift_right(x, jnp.asarray(shifts), rounding)
    np.testing.assert_array_equal(ours, divide(ALL_INT16, 2**shifts, rounding))


@pytest.mark.parametrize("rounding", Rounding)
def test_corners_by_every_shift(rounding):
    shifts = np.arange(32)[:, None]
    x = jnp.broadcast_to(jnp.asarray(INT32_CORNERS, jnp.int32), (32, len(INT32_CORNERS)))
    ours = rounding_shift_right(x, jnp.asarray(shifts), rounding)
    np.testing.assert_array_equal(ours, divide(INT32_CORNERS, 2**shifts, rounding))


@pytest.mark.parametrize("rounding", Rounding)
@settings(max_examples=20, deadline=None)
@given(x=st.lists(int32s, min_size=8, max_size=8), shift=st.integers(0, 31))
def test_any_int32(rounding, x, shift):
    ours = rounding_shift_right(jnp.asarray(x, jnp.int32), shift, rounding)
    np.testing.assert_array_equal(ours, divide(np.array(x), 2**shift, rounding))


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        (Rounding.AWAY, [-3, -2, -1, 1, 2, 3]),
        (Rounding.EVEN, [-2, -2, 0, 0, 2, 2]),
        (Rounding.UP, [-2, -1, 0, 1, 2, 3]),
        (Rounding.TRUNCATE, [-3, -2, -1, 0, 1, 2]),
    ],
)
def test_ties_of_reals(rounding, expected):
    x = jnp.asarray([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], jnp.float32)
    np.testing.assert_array_equal(round_real(x, rounding), expected)


@pytest.mark.parametrize("rounding", [Rounding.AWAY, Rounding.EVEN, Rounding.UP])
def test_reals_next_to_a_tie_go_to_the_nearest(rounding):
    half = np.float32(0.5)
    x = np.array([np.nextafter(half, 0), -np.nextafter(half, 0), 8388607.0, -8388609.0], np.float32)
    np.testing.assert_array_equal(round_real(jnp.asarray(x), rounding), [0, 0, 8388607, -8388609])


def test_truncated_reals_go_down():
    x = jnp.asarray([-1.0, -0.75, -1e-30, 0.0, 0.75, 1.0], jnp.float32)
    assert round_real(x, Rounding.TRUNCATE).tolist() == [-1, -1, -1, 0, 0, 1]
