import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.quant import smooth_units

UNITS = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}


@pytest.mark.parametrize("name", UNITS)
def test_unit_and_gradient_are_those_of_jax(name):
    x = jnp.linspace(-8, 8, 97)
    actual, vjp = jax.vjp(getattr(smooth_units, name), x)
    expected, plain_vjp = jax.vjp(UNITS[name], x)
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_allclose(vjp(jnp.cos(x))[0], plain_vjp(jnp.cos(x))[0], atol=1e-7)


@pytest.mark.parametrize("name", UNITS)
def test_the_result_alone_is_kept(name):
    x = jnp.ones((3, 5))
    kept = jax.tree.leaves(jax.vjp(getattr(smooth_units, name), x)[1])
    assert sum(leaf.size for leaf in kept) == x.size
