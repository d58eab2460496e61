"""Floating-point sigmoid, tanh and layer normalization.

For the backward pass, JAX keeps one or two arrays of the same size beside the result of a sigmoid
or tanh. A step of a recurrent layer keeps eight of them. Here only the result is kept, which the
following product needs anyway; the backward pass computes two more operations per element.
"""

import jax
import jax.numpy as jnp

from rnnt_qat.typing import Array, Float


@jax.custom_vjp
def sigmoid(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Computes the logistic function."""
    return jax.nn.sigmoid(x)


@jax.custom_vjp
def tanh(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Computes the hyperbolic tangent."""
    return jnp.tanh(x)


_SMALLEST_VARIANCE = 2.0**-20


def layer_norm(x: Float[Array, "*S N"]) -> Float[Array, "*S N"]:
    """Normalizes the last axis to mean 0 and variance 1, computed in float32.

    Variances below 2^-20 count as that, so that a constant row becomes zeros.

    Reference: Ba et al., "Layer Normalization" (2016), without gain and bias.
    """
    real = x.astype(jnp.float32)
    centred = real - real.mean(axis=-1, keepdims=True)
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(jnp.maximum(variance, _SMALLEST_VARIANCE))).astype(x.dtype)


def _keeping_result(unit):
    def forward(x):
        y = unit(x)
        return y, y

    return forward


sigmoid.defvjp(_keeping_result(sigmoid), lambda y, d: (d * (y * (1 - y)),))
tanh.defvjp(_keeping_result(tanh), lambda y, d: (d * (1 - y * y),))
