"""Straight-through estimators: integers forward, a stated gradient backward."""

import jax
import jax.numpy as jnp

from rnnt_qat.typing import Array, Float


@jax.custom_jvp
def round_straight_through(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Nearest integer, ties away from zero; the gradient is one (Bengio et al., 2013)."""
    return jnp.trunc(x + jnp.copysign(jnp.float32(0.49999997), x))


@round_straight_through.defjvp
def _round_straight_through_jvp(primals, tangents):
    return round_straight_through(primals[0]), tangents[0]


def quantize_straight_through(
    x: Float[Array, "*S"], scale: Float[Array, "..."], minimum: int, maximum: int
) -> Float[Array, "*S"]:
    """``clip(round(x / scale))`` as float32 integers; the gradient is zero where it saturates.

    Saturated means that the rounded value had to be moved: the largest value that a range was
    calibrated on rounds to the bound itself and keeps its gradient.
    """
    rounded = round_straight_through(x / scale)
    return jnp.where(rounded > maximum, maximum, jnp.where(rounded < minimum, minimum, rounded))
