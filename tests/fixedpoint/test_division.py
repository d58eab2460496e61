import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.fixedpoint.division import divide

X = np.random.default_rng(0).uniform(0.01, 9, 20_000).astype(np.float32)
BY = np.float32(0.0123)


def programs():
    yield "eager", divide(jnp.asarray(X), BY)
    yield "by a constant", jax.jit(lambda x: divide(x, BY))(X)
    yield "by an argument", jax.jit(divide)(X, BY)
    yield "of a product", jax.jit(lambda x: divide(x * jnp.float32(1.0), jnp.float32(BY)))(X)
    scalar = jax.jit(lambda x: divide(x, BY))
    yield "scalars", jnp.stack([scalar(x) for x in X[:300]])
    yield "in a loop", jax.lax.map(lambda x: divide(x, BY), X)


@pytest.mark.parametrize(("name", "quotients"), list(programs()))
def test_is_numpys_division(name, quotients):
    quotients = np.asarray(quotients)
    np.testing.assert_array_equal(quotients, (X / BY)[: len(quotients)])


def test_xla_itself_divides_otherwise():
    """If this ever fails, ``divide`` is needed no more."""
    assert (np.asarray(jax.jit(lambda x: x / BY)(X)) != X / BY).any()
