"""Dropout on reals and on grids."""

import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.models.dropout import dropout
from rnnt_qat.quant.qtensor import QTensor, dequantize

RATE = 0.25
KEYS = jax.random.split(jax.random.key(0), 4)
INTEGERS = jnp.asarray(np.random.default_rng(0).integers(-128, 128, (4, 50, 8)), jnp.float32)


def dropped(x):
    return dropout(x, RATE, KEYS)


def test_reals_keep_their_mean():
    found = dropped(jnp.ones((4, 500, 8)))
    np.testing.assert_allclose(np.unique(found), [0.0, 1 / (1 - RATE)], rtol=1e-6)
    assert abs(found.mean() - 1.0) < 0.02


def test_every_arithmetic_drops_the_same_values():
    kept = dropped(jnp.ones_like(INTEGERS)) > 0
    for value in (QTensor(INTEGERS, 0.5), QTensor(INTEGERS, 0.5, format=QFormat(8))):
        found = dropped(value)
        np.testing.assert_array_equal(found.values[~kept], 0.0)
        assert (np.asarray(found.values)[kept & (np.abs(INTEGERS) > 0)] != 0).all()


def test_on_a_grid_it_stays_on_the_grid():
    found = dropped(QTensor(INTEGERS, 0.5, format=QFormat(8)))
    assert found.scale == 0.5
    kept = np.asarray(dropped(jnp.ones_like(INTEGERS)) > 0)
    exact = np.float64(INTEGERS) / (1 - RATE)
    rounded = np.clip(np.sign(exact) * np.floor(np.abs(exact) + 0.5), -128, 127)
    np.testing.assert_array_equal(found.values, np.where(kept, rounded, 0.0))
    fresh = dropped(QTensor(INTEGERS, 0.5, integers=INTEGERS.astype(jnp.int32), format=QFormat(8)))
    assert fresh.integers is None  # those of before the dropout would be read for its values


def test_operands_of_products_alone_change_their_scale():
    found = dropped(QTensor(INTEGERS, jnp.float32(0.5)))
    kept = dropped(jnp.ones_like(INTEGERS)) > 0
    np.testing.assert_array_equal(found.values, jnp.where(kept, INTEGERS, 0.0))
    np.testing.assert_allclose(dequantize(found)[kept], INTEGERS[kept] * 0.5 / (1 - RATE), 1e-6)


def test_gradient_is_that_of_the_kept_values_inside_the_range():
    def total(values):
        return dropped(QTensor(values, 0.5, format=QFormat(8))).values.sum()

    gradient = jax.grad(total)(INTEGERS)
    kept = np.asarray(dropped(jnp.ones_like(INTEGERS)) > 0)
    inside = np.abs(np.asarray(INTEGERS)) < 128 * (1 - RATE) - 1
    np.testing.assert_allclose(gradient[kept & inside], 1 / (1 - RATE), rtol=1e-6)
    np.testing.assert_array_equal(gradient[~kept], 0.0)
    saturated = np.abs(np.asarray(INTEGERS)) > 128 * (1 - RATE) + 1
    np.testing.assert_array_equal(gradient[kept & saturated], 0.0)
