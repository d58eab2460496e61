import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.layers.distinct_scan import distinct_scan


def step(carry, x):
    total = carry + x
    return total, {"total": total, "again": (total, 2 * total)}


@pytest.mark.parametrize("reverse", [False, True])
def test_equals_the_plain_scan(reverse):
    xs = jnp.arange(6.0)
    actual = jax.jit(lambda xs: distinct_scan(step, 0.0, xs, reverse=reverse))(xs)
    jax.tree.map(
        np.testing.assert_array_equal, actual, jax.lax.scan(step, 0.0, xs, reverse=reverse)
    )


def test_an_array_returned_twice_is_stacked_once():
    (scan,) = [
        equation
        for equation in jax.make_jaxpr(lambda xs: distinct_scan(step, 0.0, xs))(jnp.ones(6)).eqns
        if equation.primitive.name == "scan"
    ]
    assert [v.aval.shape for v in scan.outvars] == [(), (6,), (6,)]
