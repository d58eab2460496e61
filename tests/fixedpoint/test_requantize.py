from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.fixedpoint.multiplier import quantize_multiplier
from rnnt_qat.fixedpoint.requantize import (
    DoubleRoundingRescale,
    ShiftRescale,
    SingleRoundingRescale,
    shift_left,
    shift_right,
)
from rnnt_qat.fixedpoint.rounding import Rounding
from tests.fixedpoint.test_wide import split
from tests.reference import fixedpoint_int64 as oracle

RNG = np.random.default_rng(0)
X = np.concatenate([oracle.INT32_CORNERS, RNG.integers(-(2**24), 2**24, 2000)])


def both(operator, x, ratio):
    """The result for a ratio known on the host and for one inside a program, which must agree."""
    on_host = jax.jit(lambda x: operator(x, float(np.float32(ratio))))(x)
    in_program = jax.jit(operator)(x, jnp.float32(ratio))
    np.testing.assert_array_equal(on_host, in_program)
    return in_program


@pytest.mark.parametrize("rounding", Rounding)
def test_shift(rounding):
    for places in (-4, 0, 7, 31):
        ours = both(ShiftRescale(rounding), jnp.asarray(X, jnp.int32), 2.0**-places)
        shifted = oracle.divide(X, 2 ** max(places, 0), rounding) * 2 ** max(-places, 0)
        np.testing.assert_array_equal(ours, oracle.saturate(shifted, 32))
    vanished = both(ShiftRescale(rounding), jnp.asarray(X, jnp.int32), 2.0**-40)
    np.testing.assert_array_equal(vanished, oracle.divide(X, 2**40, rounding))


@pytest.mark.parametrize("rounding", Rounding)
def test_shifts_whose_direction_is_known(rounding):
    x = jnp.asarray(X, jnp.int32)
    for places in (0, 1, 7, 31, 40):
        up = both(shift_left, x, 2.0**places)
        np.testing.assert_array_equal(up, oracle.saturate(X * 2 ** min(places, 31), 32))
        down = both(partial(shift_right, rounding=rounding), x, 2.0**-places)
        np.testing.assert_array_equal(down, oracle.divide(X, 2**places, rounding))


@pytest.mark.parametrize("rounding", Rounding)
def test_shift_of_a_wide_accumulator(rounding):
    x = RNG.integers(-(2**39), 2**39, 2000) >> RNG.integers(0, 38, 2000)
    for places in (-2, 0, 9):
        ours = both(ShiftRescale(rounding), split(x), 2.0**-places)
        narrowed = oracle.saturate(oracle.divide(x, 2 ** max(places, 0), rounding), 32)
        np.testing.assert_array_equal(ours, oracle.saturate(narrowed * 2 ** max(-places, 0), 32))


def test_multiplier_and_shift():
    for ratio in (0.0123, 2.0**-7, 0.9):
        multiplier = quantize_multiplier(float(np.float32(ratio)))
        ours = both(DoubleRoundingRescale(), jnp.asarray(X, jnp.int32), ratio)
        np.testing.assert_array_equal(ours, oracle.multiply_twice_rounded(X, *multiplier))


def test_one_rounding_of_a_float32_ratio_is_the_nearest_of_the_real_product():
    x = RNG.integers(-(2**24), 2**24, 5000)
    ratio = np.float32(0.0123)
    ours = both(SingleRoundingRescale(24), jnp.asarray(x, jnp.int32), ratio)
    real = x * np.float64(ratio)  # exact: 25 by 24 bits
    np.testing.assert_array_equal(ours, np.trunc(real + np.copysign(0.5, real)))


def test_an_impossible_multiplier_is_refused():
    with pytest.raises(ValueError, match=r"SingleRoundingRescale.bits=40"):
        SingleRoundingRescale(40)
