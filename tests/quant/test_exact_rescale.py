"""Every result next to a tie, where float32 alone would decide wrongly, against int64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.fixedpoint.requantize import (
    DoubleRoundingRescale,
    ShiftRescale,
    SingleRoundingRescale,
)
from rnnt_qat.fixedpoint.rounding import Rounding
from rnnt_qat.quant.exact_rescale import rescale, rescale_wide
from tests.reference import fixedpoint_int64 as oracle

INT32 = np.iinfo(np.int32)


def accumulators(rng, ratio, bits):
    """Corners, all magnitudes, and what is next to a tie in the format or a little beyond."""
    reach = 2 ** (bits - 1) + 3
    ties = np.unique(np.linspace(-reach, reach, min(2 * reach + 1, 4097)).round()) + 0.5
    next_to_ties = np.rint(ties / np.float64(ratio))[:, None] + np.arange(-2, 3)
    random = rng.integers(INT32.min, INT32.max, 4000) >> rng.integers(0, 31, 4000)
    x = np.concatenate([oracle.INT32_CORNERS, random, next_to_ties.ravel()])
    return np.unique(x[(x >= INT32.min) & (x <= INT32.max)].astype(np.int64))


def expected(x, ratio, bits, rounding):
    fraction, exponent = np.frexp(ratio)
    significand, places = int(fraction * 2**24), 24 - int(exponent)
    if places < 0:
        significand, places = significand << -places, 0
    if places > 62:
        return np.zeros_like(x)
    return oracle.saturate(oracle.divide(x * significand, 2**places, rounding), bits)


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_equals_int64(bits, rounding):
    rng = np.random.default_rng(bits)
    operator = SingleRoundingRescale(24, rounding)
    ours = jax.jit(lambda x, ratio: rescale(operator, x, ratio, bits))
    # Of all sizes that a 64-bit shift takes, so both ways are taken; most where scales lie.
    ratios = 2.0 ** np.concatenate([rng.uniform(-30, 4, 30), [-12.0, -20.0, 0.0, 2.0]])
    for ratio in ratios.astype(np.float32):
        x = accumulators(rng, ratio, bits)
        padded = np.resize(x, 2**15)  # one program for all of them
        found = np.asarray(ours(jnp.asarray(padded, jnp.int32), ratio))[: len(x)]
        wanted = expected(x, ratio, bits, rounding)
        np.testing.assert_array_equal(oracle.saturate(found.astype(np.int64), bits), wanted)
        # What saturates is told from what reaches the bound itself: its gradient stops.
        unbounded = expected(x, ratio, 40, rounding)
        np.testing.assert_array_equal(found == wanted, unbounded == wanted)


def test_a_ratio_for_each_column():
    rng = np.random.default_rng(0)
    x = rng.integers(-(2**22), 2**22, (500, 7))
    ratios = (2.0 ** rng.uniform(-18, -8, 7)).astype(np.float32)
    operator = SingleRoundingRescale(24, Rounding.AWAY)
    found = rescale(operator, jnp.asarray(x, jnp.int32), jnp.asarray(ratios), 8)
    wanted = np.stack([expected(x[:, k], r, 8, Rounding.AWAY) for k, r in enumerate(ratios)], 1)
    np.testing.assert_array_equal(oracle.saturate(np.asarray(found, np.int64), 8), wanted)


@pytest.mark.parametrize("rounding", [Rounding.UP, Rounding.AWAY, Rounding.EVEN])
def test_wide_accumulators_equal_int64(rounding):
    """Of 48 bits: ties and what is next to them, corners, all magnitudes; both ways are taken."""
    rng = np.random.default_rng(3)
    operator = SingleRoundingRescale(15, rounding)
    ours = jax.jit(lambda high, low, ratio: rescale_wide(operator, high, low, ratio, 16))
    mantissas = rng.integers(2**14, 2**15, 32)
    mantissas[::4] = 2**14  # powers of two: every tie is an integer
    for mantissa, places in zip(mantissas.tolist(), range(13, 45), strict=True):
        ratio = np.float32(mantissa * 2.0**-places)
        ties = (np.linspace(-(2**15) - 3, 2**15 + 3, 3001).round() + 0.5) / np.float64(ratio)
        near = np.clip(np.rint(ties), -(2**46), 2**46)[:, None] + np.arange(-2, 3)
        random = rng.integers(-(2**47), 2**47, 4000) >> rng.integers(0, 46, 4000)
        corners = [-(2**47), 2**47 - 1, *oracle.INT32_CORNERS, 2**31, -(2**31) - 1, 2**31 - 2**16]
        x = np.resize(np.concatenate([corners, random, near.ravel()]).astype(np.int64), 2**15)
        high, low = (jnp.asarray(part, jnp.int32) for part in (x >> 16, x & 0xFFFF))
        found = np.asarray(ours(high, low, ratio)).astype(np.int64)
        unbounded = oracle.divide(x * mantissa, 2**places, rounding)
        wanted = oracle.saturate(unbounded, 16)
        np.testing.assert_array_equal(oracle.saturate(found, 16), wanted)
        np.testing.assert_array_equal(found == wanted, unbounded == wanted)


def test_wide_accumulators_with_a_ratio_for_each_column():
    rng = np.random.default_rng(4)
    x = rng.integers(-(2**30), 2**30, (500, 7))
    mantissas, places = rng.integers(2**14, 2**15, 7), rng.integers(20, 29, 7)
    ratios = jnp.asarray(mantissas * 2.0**-places, jnp.float32)
    operator = SingleRoundingRescale(15, Rounding.UP)
    high, low = (jnp.asarray(part, jnp.int32) for part in (x >> 16, x & 0xFFFF))
    found = np.asarray(rescale_wide(operator, high, low, ratios, 16), np.int64)
    wanted = (x * mantissas + (1 << (places - 1))) >> places
    np.testing.assert_array_equal(oracle.saturate(found, 16), oracle.saturate(wanted, 16))


@pytest.mark.parametrize(
    "operator", [ShiftRescale(), DoubleRoundingRescale(), SingleRoundingRescale(16)]
)
def test_other_operators_are_the_chips(operator):
    x = jnp.asarray(np.random.default_rng(0).integers(-(2**20), 2**20, 1000), jnp.int32)
    for ratio in (2.0**-9, jnp.float32(2.0**-9)):
        np.testing.assert_array_equal(rescale(operator, x, ratio, 8), operator(x, ratio))
