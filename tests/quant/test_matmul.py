import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.quant.matmul import matmul


@pytest.mark.parametrize("width", [3, 7], ids="M{}".format)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=lambda d: d.__name__)
def test_value_and_gradients_are_those_of_the_plain_product(dtype, width):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, 3, 5), dtype)
    w = jax.random.normal(keys[1], (5, width), dtype)
    d = jax.random.normal(keys[2], (2, 3, width))

    def plain(x, w):
        return jnp.einsum("abk,km->abm", x.astype(jnp.float32), w.astype(jnp.float32))

    actual, vjp = jax.vjp(matmul, x, w)
    expected, plain_vjp = jax.vjp(plain, x, w)
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(vjp(d), plain_vjp(d), strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(
            np.float32(ours), np.float32(theirs), rtol=0.02 if dtype == jnp.bfloat16 else 1e-5
        )


def test_a_scan_that_closes_over_the_gradient_transposes_the_kernel_once():
    def steps(w, d):
        _, vjp = jax.vjp(lambda x: matmul(x, w), jnp.ones((3, 5)))

        def step(d, _):
            return jnp.pad(vjp(d)[0], ((0, 0), (0, 2))), None

        return jax.lax.scan(step, d, length=4)[0]

    program = jax.jit(steps).lower(jnp.ones((5, 7)), jnp.ones((3, 7))).compile().as_text()
    (product,) = [line for line in program.splitlines() if " dot(" in line]
    assert "while/body" in product
    assert "lhs_contracting_dims={1}, rhs_contracting_dims={0}" in product
