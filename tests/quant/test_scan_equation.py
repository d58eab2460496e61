import jax
import jax.numpy as jnp
import pytest

from rnnt_qat.quant.scan_equation import scan_sizes


@pytest.mark.parametrize("length", [1, 4])
def test_counts_constants_and_carry_whatever_their_shapes(length):
    kernel, bias = jnp.ones((3, 3)), jnp.float32(1)

    def program(kernel, bias, state, count, frames, ends):
        def step(carry, x):
            state, count = carry
            frame, end = x
            return (state @ kernel + frame + bias, count + end), state.sum()

        return jax.lax.scan(step, (state, count), (frames, ends))

    state, count = jnp.ones((length, 3)), jnp.int32(0)
    frames, ends = jnp.ones((length, length, 3)), jnp.ones(length, jnp.int32)
    traced = jax.make_jaxpr(program)(kernel, bias, state, count, frames, ends)
    (equation,) = (e for e in traced.jaxpr.eqns if e.primitive.name == "scan")
    assert scan_sizes(equation) == (2, 2)
    assert len(equation.invars) == 6


def test_counts_of_a_loop_without_constants_steps_or_results():
    traced = jax.make_jaxpr(
        lambda x: jax.lax.scan(lambda x, _: (2 * x, None), x, None, length=3)[0]
    )(jnp.ones(3))
    (equation,) = (e for e in traced.jaxpr.eqns if e.primitive.name == "scan")
    assert scan_sizes(equation) == (0, 1)
