"""TOSA's RESCALE and TABLE against their pseudocode in the specification, in NumPy int64."""

import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.requantize import ShiftRescale
from rnnt_qat.fixedpoint.rounding import Rounding, round_real, rounding_shift_right
from rnnt_qat.fixedpoint.tosa_table import TosaTable, tosa_table


def apply_scale_32(value, multiplier, shift):
    """``apply_scale_32`` of TOSA 1.0 with double rounding."""
    value = value.astype(object)  # Python's integers: products have up to 63 bits
    nudge = 1 << (shift - 1)
    if shift > 31:
        nudge = nudge + np.where(value >= 0, 1 << 30, -(1 << 30)).astype(object)
    return ((value * multiplier + nudge) >> shift).astype(np.int64)


@pytest.mark.parametrize("places", range(31))
def test_double_rounding_at_powers_of_two(places):
    """A power of two is the multiplier 2^30 and a shift."""
    rng = np.random.default_rng(places)
    ties = (np.arange(-64, 64)[:, None] * 2**places // 2 + np.arange(-3, 4)).ravel()
    x = np.r_[ties, rng.integers(-(2**31), 2**31, 2000), -(2**31), 2**31 - 1, np.arange(-9, 10)]
    x = x[(x >= -(2**31)) & (x < 2**31)]
    expected = apply_scale_32(x, 1 << 30, 30 + places)
    ours = rounding_shift_right(jnp.asarray(x, jnp.int32), places, Rounding.TOSA_DOUBLE)
    np.testing.assert_array_equal(ours, expected)
    ours = ShiftRescale(Rounding.TOSA_DOUBLE)(jnp.asarray(x, jnp.int32), 2.0**-places)
    np.testing.assert_array_equal(ours, expected)


def test_double_rounding_is_of_integers():
    with pytest.raises(ValueError, match="of integers"):
        round_real(jnp.zeros(1), Rounding.TOSA_DOUBLE)


@pytest.mark.parametrize("function", Function)
@pytest.mark.parametrize("frac_bits", [11, 12])
def test_table_at_every_input(function, frac_bits):
    table = tosa_table(function, frac_bits).astype(np.int64)
    x = np.arange(-(2**15), 2**15)
    index, part = (x + 2**15) >> 7, x & 127
    value = (table[index] << 7) + np.clip(table[index + 1] - table[index], -(2**15), 2**15) * part
    expected = np.clip((value + 64) >> 7, -(2**15), 2**15 - 1)
    ours = TosaTable(function)(jnp.asarray(x, jnp.int32), frac_bits)
    np.testing.assert_array_equal(ours, expected)
    exact = function.exact(x / 2.0**frac_bits) * 2**15
    assert np.abs(np.asarray(ours) - exact).max() < 24


def test_slope_is_that_of_the_segments():
    unit, x = TosaTable(Function.TANH), jnp.arange(-(2**15), 2**15, 128)
    rise = np.diff(tosa_table(Function.TANH, 12)) / 2**15
    np.testing.assert_allclose(unit.slope(x, 12), rise / 2.0**-5, rtol=1e-6)
