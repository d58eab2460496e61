import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.fixedpoint.dot import Accumulator, argmax, dot, dot_int16
from rnnt_qat.fixedpoint.saturation import Overflow
from tests.fixedpoint.test_wide import join, split
from tests.reference.fixedpoint_int64 import saturate, wrap

RNG = np.random.default_rng(0)


def int8s(*shape):
    return RNG.integers(-128, 128, shape)


def jnp8(x):
    return jnp.asarray(x, jnp.int8)


def test_every_product_of_two_int8():
    x = np.arange(-128, 128)
    np.testing.assert_array_equal(dot(jnp8(x[:, None]), jnp8(x[None])), x[:, None] * x)


def test_bias_starts_the_sum_and_the_sum_saturates():
    x, w, bias = int8s(3, 200), int8s(200, 5), RNG.integers(-(2**31), 2**31, 5)
    ours = dot(jnp8(x), jnp8(w), jnp.asarray(bias, jnp.int32))
    np.testing.assert_array_equal(ours, saturate(x @ w + bias, 32))


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("tile", [None, 7, 16])
@pytest.mark.parametrize("bits", [16, 18])
def test_narrow_accumulators(bits, tile, overflow):
    # Three rows of one sign, so that sums leave 16 and 18 bits on the way.
    x, w, bias = int8s(6, 32), int8s(32, 9), RNG.integers(-30000, 30000, 9)
    x[:3], w[:, :3] = np.abs(x[:3]), np.abs(w[:, :3])
    x, w = np.clip(x, -128, 127), np.clip(w, -128, 127)
    bring = saturate if overflow is Overflow.SATURATE else wrap
    total = np.broadcast_to(bias, (6, 9)).astype(np.int64)
    for k in range(0, 32, tile or 32):
        part = x[:, k : k + (tile or 32)] @ w[k : k + (tile or 32)]
        total = bring(total + part, bits)
    accumulator = Accumulator(bits, overflow, tile)
    ours = jax.jit(lambda x, w, b: dot(x, w, b, accumulator))(
        jnp8(x), jnp8(w), jnp.asarray(bias, jnp.int32)
    )
    np.testing.assert_array_equal(ours, total)


def test_the_program_does_not_grow_with_the_number_of_tiles():
    def size(k):
        operands = jnp.zeros((2, k), jnp.int8), jnp.zeros((k, 3), jnp.int8)
        return len(
            str(jax.make_jaxpr(lambda x, w: dot(x, w, None, Accumulator(tile=2)))(*operands))
        )

    assert size(2000) < 1.2 * size(20)


@pytest.mark.parametrize("k", [1, 5, 700, 3000])
def test_int16_by_int8(k):
    x, w = RNG.integers(-(2**15), 2**15, (4, k)), RNG.integers(-127, 128, (k, 6))
    x[0], w[:, 0] = -(2**15), 127
    bias = RNG.integers(-(2**38), 2**38, 6)
    ours = dot_int16(jnp.asarray(x, jnp.int16), jnp8(w), split(bias))
    np.testing.assert_array_equal(join(ours), x @ w + bias)
    np.testing.assert_array_equal(join(dot_int16(jnp.asarray(x, jnp.int16), jnp8(w))), x @ w)


def test_argmax_takes_the_first_of_equals():
    x = jnp.asarray([[1, 5, 5, 2], [-3, -3, -3, -3], [-128, 127, 0, 127]], jnp.int8)
    assert argmax(x).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": 4}, "Accumulator.bits=4"),
        ({"bits": 64}, "Accumulator.bits=64"),
        ({"tile": 0}, "Accumulator.tile=0"),
        ({"bits": 40, "tile": 8}, "Accumulator.tile=8"),
    ],
)
def test_impossible_accumulators_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Accumulator(**fields)
