"""Sigmoid and tanh in floating point whose derivative is made from the result.

Of each unit JAX keeps one or two arrays beside its result, each as large, for the backward pass. A
recurrent layer's step keeps eight of them; here the result alone is kept, which the product that
follows needs anyway, and two more operations an element are left to the backward pass.
"""

import jax
import jax.numpy as jnp

from rnnt_qat.typing import Array, Float


@jax.custom_vjp
def sigmoid(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Logistic function."""
    return jax.nn.sigmoid(x)


@jax.custom_vjp
def tanh(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Hyperbolic tangent."""
    return jnp.tanh(x)


def _keeping_result(unit):
    def forward(x):
        y = unit(x)
        return y, y

    return forward


sigmoid.defvjp(_keeping_result(sigmoid), lambda y, d: (d * (y * (1 - y)),))
tanh.defvjp(_keeping_result(tanh), lambda y, d: (d * (1 - y * y),))
