"""Straight-through estimators: integers forward, a surrogate gradient backward."""

import jax
import jax.numpy as jnp

from rnnt_qat.fixedpoint.division import divide
from rnnt_qat.fixedpoint.rounding import Rounding, round_real
from rnnt_qat.typing import Array, Bool, Float


@jax.custom_jvp
def straight_through(value: Float[Array, "*S"], surrogate: Float[Array, "*S"]) -> Array:
    """Returns ``value`` with the gradient of ``surrogate`` (Bengio et al., 2013)."""
    del surrogate
    return value


@straight_through.defjvp
def _straight_through_jvp(primals, tangents):
    return primals[0], tangents[1]


def where_inside(inside: Bool[Array, "*S"], x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Returns the surrogate ``x`` with a zero gradient where ``inside`` is False (saturation)."""
    return jnp.where(inside, x, jax.lax.stop_gradient(x))


def quantize_straight_through(
    x: Float[Array, "*S"], scale: float | Float[Array, "..."], minimum: float, maximum: float
) -> Float[Array, "*S"]:
    """Computes ``clip(round(x / scale))`` with a zero gradient where it saturates.

    A value saturates if clipping changes its rounded value. The largest value on which a range was
    calibrated rounds to the bound itself and keeps its gradient.

    The gradient with respect to ``scale`` is that of ``x / scale``. Multiplied by the scale, it is
    the gradient of a learned step size (Esser et al., 2020, eq. 3).

    Args:
      x: real values.
      scale: real value of one step; broadcasts against ``x``.
      minimum: smallest integer.
      maximum: largest integer.

    Returns:
      Integers as float32.
    """
    integers = round_real(divide(*jax.lax.stop_gradient((x, scale))), Rounding.AWAY)
    rounded = straight_through(integers, x / scale)
    return jnp.where(rounded > maximum, maximum, jnp.where(rounded < minimum, minimum, rounded))
