import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.fixedpoint import layer_norm
from tests.reference import layer_norm_int64


def rows(bits, width, seed):
    """Rows of every kind: full range, narrow, off centre, almost constant, constant, extreme."""
    rng = np.random.default_rng(seed)
    smallest, largest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    spreads = 2.0 ** rng.uniform(0, bits - 1, size=60)
    spread = rng.normal(size=(60, width)) * spreads[:, None]
    centres = rng.integers(smallest, largest + 1, size=(60, 1)) * rng.integers(0, 2, (60, 1))
    single = np.full((1, width), largest)
    single[0, 0] -= 1
    alternating = np.where(np.arange(width) % 2, smallest, largest)[None]
    constants = np.array([[smallest], [0], [largest]]) * np.ones(width, int)
    uniform = rng.integers(smallest, largest + 1, size=(60, width))
    made = np.concatenate([np.rint(spread + centres), single, alternating, constants, uniform])
    return np.clip(made, smallest, largest).astype(np.int32)


@pytest.mark.parametrize(
    ("bits", "width"), [(4, 16), (8, 7), (8, 640), (16, 1), (16, 100), (16, 512)]
)
def test_equals_the_int64_oracle(bits, width):
    x = rows(bits, width, seed=width)
    found = jax.jit(layer_norm.normalize, static_argnums=1)(x, bits)
    np.testing.assert_array_equal(found, layer_norm_int64.normalize(x, bits))


def test_inverse_square_root_equals_the_int64_oracle_and_nearly_the_real_one():
    rng = np.random.default_rng(0)
    near = [2**n + d for n in range(1, 31) for d in (-1, 0, 1)]
    x = np.array([0, 1, 2**31 - 1, *near, *(2 ** rng.uniform(1, 31, size=5000)).astype(int)])
    significand, shift = jax.jit(layer_norm.inverse_square_root)(x.astype(np.int32))
    expected = np.array([layer_norm_int64.inverse_square_root(int(n)) for n in x])
    np.testing.assert_array_equal(np.stack([significand, shift], axis=1), expected)
    real = np.asarray(significand) * 2.0 ** (np.asarray(shift) - 31)
    np.testing.assert_allclose(real, np.maximum(x, 1) ** -0.5, rtol=2e-3)


def test_is_nearly_the_real_normalization():
    x = rows(16, 512, seed=0)
    x = x[x.std(axis=1) > 8]
    real = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    found = layer_norm.normalize(jnp.asarray(x), 16) * 2.0**-layer_norm.FRAC_BITS
    np.testing.assert_allclose(found, real, rtol=0.01, atol=0.01)


def test_refuses_rows_whose_sums_could_overflow():
    wide = jax.ShapeDtypeStruct((1, layer_norm.LARGEST_WIDTH + 1), jnp.int32)
    with pytest.raises(ValueError, match="layer norm of 32769 values"):
        jax.eval_shape(lambda x: layer_norm.normalize(x, 16), wide)
