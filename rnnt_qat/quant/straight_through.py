"""Straight-through estimators: integers forward, a stated gradient backward."""

import jax
import jax.numpy as jnp

from rnnt_qat.fixedpoint.division import divide
from rnnt_qat.fixedpoint.rounding import Rounding, round_real
from rnnt_qat.typing import Array, Bool, Float


@jax.custom_jvp
def straight_through(value: Float[Array, "*S"], surrogate: Float[Array, "*S"]) -> Array:
    """``value`` forward; the gradient is that of ``surrogate`` (Bengio et al., 2013)."""
    del surrogate
    return value


@straight_through.defjvp
def _straight_through_jvp(primals, tangents):
    return primals[0], tangents[1]


def where_inside(inside: Bool[Array, "*S"], x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """A surrogate whose gradient stops where the result saturated."""
    return jnp.where(inside, x, jax.lax.stop_gradient(x))


def quantize_straight_through(
    x: Float[Array, "*S"], scale: float | Float[Array, "..."], minimum: float, maximum: float
) -> Float[Array, "*S"]:
    """``clip(round(x / scale))`` as float32 integers; the gradient is zero where it saturates.

    Saturated means that the rounded value had to be moved: the largest value that a range was
    calibrated on rounds to the bound itself and keeps its gradient.

    With respect to ``scale`` the gradient is that of ``x / scale``; times the scale again, this is
    the learned step size's (Esser et al., 2020, eq. 3).
    """
    integers = round_real(divide(*jax.lax.stop_gradient((x, scale))), Rounding.AWAY)
    rounded = straight_through(integers, x / scale)
    return jnp.where(rounded > maximum, maximum, jnp.where(rounded < minimum, minimum, rounded))
