"""Scales that are trained: power-of-two thresholds (TQT) and learned step sizes (LSQ).

Both turn a parameter into the scale of a site; give the result to ``NnaOperators.scales``. What the
scale does to the loss needs no rule of its own: storing is ``round(x / scale)`` with the rounding
straight through and nothing where it saturates, and the real value is that times the scale. Their
product rule is TQT's equation 8 and LSQ's equation 3.
"""

import jax
import jax.numpy as jnp

from rnnt_qat.quant.scales import power_of_two_above
from rnnt_qat.quant.straight_through import straight_through
from rnnt_qat.typing import Array, Float


def threshold_scale(log2_threshold: Float[Array, "..."], bits: int) -> Float[Array, "..."]:
    """Power-of-two scale of a trained threshold (Jain et al., 2020, section 3).

    ``2^ceil(log2 t) / 2^(bits - 1)``; the ceiling is straight through, so that the gradient is that
    of ``2^(log2 t)``: the scale times ln 2.

    Args:
      log2_threshold: parameter; the logarithm makes the step relative and the threshold positive.
      bits: width of the format.
    """
    rounded = jax.lax.stop_gradient(jnp.ceil(log2_threshold))
    power = jnp.ldexp(jnp.float32(1), rounded.astype(jnp.int32))
    smooth = power * jnp.exp2(log2_threshold - jax.lax.stop_gradient(log2_threshold))
    return straight_through(power, smooth) * 2.0 ** (1 - bits)


def initial_log2_threshold(max_abs: Float[Array, "..."]) -> Float[Array, "..."]:
    """Threshold that covers a calibrated range, in the middle of its power of two's basin."""
    return jnp.log2(power_of_two_above(max_abs)) - 0.5


def learned_step_scale(step: Float[Array, "..."], maximum: int, count: int) -> Float[Array, "..."]:
    """A step size as it is, with its gradient scaled by ``1 / sqrt(count * maximum)``.

    Args:
      step: parameter, positive.
      maximum: largest integer of the format.
      count: values that share the step: the weights of the kernel, or the features of the tensor
        (Esser et al., 2020, section 2.2).
    """
    share = (maximum * count) ** -0.5
    return straight_through(step, step * share)


def initial_step(x: Float[Array, "*S"], maximum: int) -> Float[Array, ""]:
    """``2 mean(|x|) / sqrt(maximum)`` (Esser et al., 2020, section 2.1)."""
    return 2 * jnp.abs(x).mean() / maximum**0.5
