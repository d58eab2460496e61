"""Joints for the tests of the factored loss, float and emulated."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np


@flax.struct.dataclass
class FloatHead:
    """``tanh(e + p) W + b``, and an integer leaf that takes part in nothing."""

    kernel: jax.Array
    bias: jax.Array
    step: jax.Array

    def __call__(self, encoded, predicted):
        hidden = jnp.tanh(encoded + predicted)
        return hidden @ self.kernel + self.bias


@jax.custom_vjp
def rounded(x, scale):
    return jnp.round(x * scale) / scale


def _rounded_fwd(x, scale):
    return rounded(x, scale), jnp.abs(x) < 1.5


def _rounded_bwd(inside, cotangent):
    return jnp.where(inside, cotangent, 0.0), jnp.zeros(())


rounded.defvjp(_rounded_fwd, _rounded_bwd)


@flax.struct.dataclass
class EmulatedHead:
    """A joint on a grid, with a stated gradient that autodiff of the forward does not have."""

    kernel: jax.Array
    grid: jax.Array

    def __call__(self, encoded, predicted):
        hidden = rounded(jnp.tanh(rounded(encoded + predicted, self.grid)), self.grid)
        return rounded(hidden @ rounded(self.kernel, self.grid), 4 * self.grid)


def random_head(kind, seed, J, V):
    rng = np.random.default_rng(seed)
    kernel = jnp.array(rng.normal(size=(J, V)), jnp.float32)
    if kind is EmulatedHead:
        return EmulatedHead(kernel, jnp.float32(16))
    return FloatHead(kernel, jnp.array(rng.normal(size=V), jnp.float32), jnp.int32(7))
