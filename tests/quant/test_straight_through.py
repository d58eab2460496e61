import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.quant.straight_through import (
    quantize_straight_through,
    straight_through,
    where_inside,
)


def test_value_of_one_gradient_of_the_other():
    def f(x):
        return straight_through(jnp.floor(x), x**2)

    value, slope = jax.value_and_grad(f)(jnp.float32(1.7))
    assert (value, slope) == (1.0, np.float32(3.4))
    # Forward mode, and under vmap and scan, as the LSTM needs it.
    assert jax.jvp(f, (jnp.float32(1.7),), (jnp.float32(1),))[1] == np.float32(3.4)
    assert jax.vmap(jax.grad(f))(jnp.asarray([1.0, 2.0])).tolist() == [2.0, 4.0]


def test_gradient_inside_and_outside_the_range():
    scale = jnp.float32(0.1)
    # The last values that round to the bounds, and the first that have to be moved.
    x = jnp.asarray([-12.84, -12.86, 12.74, 12.76, 0.0, 500.0])

    def quantize(x):
        return quantize_straight_through(x, scale, -128, 127)

    assert quantize(x).tolist() == [-128.0, -128.0, 127.0, 127.0, 0.0, 127.0]
    slope = jax.grad(lambda x: quantize(x).sum())(x)
    np.testing.assert_allclose(slope, [10.0, 0.0, 10.0, 0.0, 10.0, 0.0])


def test_masked_surrogate_keeps_its_value():
    x = jnp.asarray([1.0, 2.0])
    inside = jnp.asarray([True, False])
    assert where_inside(inside, x).tolist() == [1.0, 2.0]
    assert jax.grad(lambda x: where_inside(inside, x).sum())(x).tolist() == [1.0, 0.0]
