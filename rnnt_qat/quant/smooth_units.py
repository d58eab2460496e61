"""Nonlinear functions in floating point: sigmoid, tanh and layer normalization.

Of a sigmoid or tanh JAX keeps one or two arrays beside its result, each as large, for the backward
pass. A recurrent layer's step keeps eight of them; here the derivative is made from the result
alone, which the product that follows needs anyway, at two more operations an element.
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
