import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.fixedpoint.multiplier import (
    SMALLEST_SHIFT,
    Multiplier,
    doubling_high_multiply,
    multiplier_of,
    multiply_once_rounded,
    multiply_twice_rounded,
    quantize_multiplier,
)
from rnnt_qat.fixedpoint.rounding import Rounding
from tests.fixedpoint.test_wide import split
from tests.reference import fixedpoint_int64 as oracle

RNG = np.random.default_rng(0)
ACCUMULATORS = np.concatenate(
    [oracle.INT32_CORNERS, RNG.integers(-(2**31), 2**31, 3000) >> RNG.integers(0, 31, 3000)]
)


def test_doubling_high_multiply_on_corners_and_a_million_pairs():
    a, b = np.meshgrid(oracle.INT32_CORNERS, oracle.INT32_CORNERS)
    a = np.concatenate([a.ravel(), RNG.integers(-(2**31), 2**31, 1_000_000)])
    b = np.concatenate([b.ravel(), RNG.integers(-(2**31), 2**31, 1_000_000)])
    ours = jax.jit(doubling_high_multiply)(jnp.asarray(a, jnp.int32), jnp.asarray(b, jnp.int32))
    np.testing.assert_array_equal(ours, oracle.doubling_high_multiply(a, b))


@pytest.mark.parametrize("bits", [15, 24, 31])
def test_multiplier_in_a_program_equals_the_host(bits):
    ratios = np.concatenate(
        [np.exp(RNG.uniform(-12, 3, 300)), 2.0 ** np.arange(-31, 5), 1 - 2.0 ** -np.arange(2, 24)]
    ).astype(np.float32)
    significand, shift = multiplier_of(jnp.asarray(ratios), bits)
    expected = [quantize_multiplier(float(ratio), bits) for ratio in ratios]
    np.testing.assert_array_equal(significand, [m.significand for m in expected])
    np.testing.assert_array_equal(shift, [m.shift for m in expected])


@pytest.mark.parametrize("ratio", [float("nan"), float("inf"), -0.5])
def test_impossible_ratios_are_refused(ratio):
    with pytest.raises(ValueError, match="scale ratio"):
        quantize_multiplier(ratio)


def test_twice_rounded():
    multiply = jax.jit(multiply_twice_rounded)
    for ratio in (0.37, 1e-3, 0.5, 2.0**-9, 1.7, 2.0, 3e-8):
        multiplier = quantize_multiplier(ratio)
        ours = multiply(
            jnp.asarray(ACCUMULATORS, jnp.int32), Multiplier(*map(jnp.int32, multiplier))
        )
        on_host = jax.jit(lambda x, m=multiplier: multiply_twice_rounded(x, m))(
            jnp.asarray(ACCUMULATORS, jnp.int32)
        )
        expected = oracle.multiply_twice_rounded(ACCUMULATORS, *multiplier)
        np.testing.assert_array_equal(ours, expected)
        np.testing.assert_array_equal(on_host, expected)


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("bits", [15, 31])
def test_once_rounded(rounding, bits):
    multiply = jax.jit(multiply_once_rounded, static_argnums=(2, 3))
    for ratio in (0.37, 1e-3, 0.5, 2.0**-9, 1.7, 2.0):
        multiplier = quantize_multiplier(ratio, bits)
        ours = multiply(
            jnp.asarray(ACCUMULATORS, jnp.int32),
            Multiplier(*map(jnp.int32, multiplier)),
            bits,
            rounding,
        )
        expected = oracle.multiply_once_rounded(ACCUMULATORS, *multiplier, bits, rounding)
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("rounding", Rounding)
def test_forty_bit_accumulators(rounding):
    multiply = jax.jit(multiply_once_rounded, static_argnums=(2, 3))
    x = RNG.integers(-(2**39), 2**39, 5000) >> RNG.integers(0, 38, 5000)
    for ratio in (2.0**-20 * 1.37, 2.0**-24, 2.0**-9):
        multiplier = quantize_multiplier(ratio, 15)
        ours = multiply(split(x), Multiplier(*map(jnp.int32, multiplier)), 15, rounding)
        expected = oracle.multiply_once_rounded(x, *multiplier, 15, rounding)
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("bits", [15, 24])
def test_ratios_of_any_size_once_rounded(bits):
    """Products of 40 bits are still there far below 2^-32, and saturate far above 2^bits."""
    x = RNG.integers(-(2**39), 2**39, 500) >> RNG.integers(0, 38, 500)
    if bits > 16:
        x = x >> 9
    multiply = jax.jit(multiply_once_rounded, static_argnums=(2, 3))
    given = split(x) if bits <= 16 else jnp.asarray(x, jnp.int32)
    for exponent in (-41, -35, -33, -32, 20, 30, 60):
        ratio = 1.25 * 2.0**exponent
        multiplier = multiplier_of(jnp.float32(ratio), bits)
        found = multiply(given, multiplier, bits, Rounding.AWAY)
        real = [int(n) * 5 for n in x]  # Python integers: 1.25 is 5 / 4
        if exponent < 0:
            exact = [(2 * abs(n) + (1 << (2 - exponent))) >> (3 - exponent) for n in real]
            exact = [e if n >= 0 else -e for e, n in zip(exact, real, strict=True)]
        else:
            exact = [(n << exponent) >> 2 for n in real]
        wanted = [max(-(2**31), min(2**31 - 1, e)) for e in exact]
        np.testing.assert_array_equal(found, wanted)
        assert any(wanted) == (exponent > (-40 if bits <= 16 else -30))


def test_gemmlowp_takes_the_smallest_ratios_for_none():
    for ratio in (2.0**-33, jnp.float32(2.0**-33)):
        assert int(multiplier_of(ratio, 31, SMALLEST_SHIFT).significand) == 0
        assert int(multiplier_of(ratio, 31).significand) == 2**30
    assert int(multiplier_of(2.0**-32, 31, SMALLEST_SHIFT).significand) == 2**30
