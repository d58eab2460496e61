"""From a range to the scale that a chip's format gives it."""

import jax
import jax.numpy as jnp

from rnnt_qat.accelerators.spec import TensorSpec
from rnnt_qat.typing import Array, Float

_SMALLEST_RANGE = 2.0**-30


def range_to_scale(tensor: TensorSpec, max_abs: Float[Array, "..."]) -> Float[Array, "..."]:
    """Scale of a calibrated format that covers ``[-max_abs, max_abs]``; no gradient.

    A power-of-two scale is rounded up, so that the range holds all but the last step (Jain et al.,
    2020, section 3.2); any other is rounded up to the chip's ``scale_bits``.

    Raises:
      ValueError: the chip fixes this format.
    """
    if not tensor.calibrated:
        raise ValueError(f"{tensor.role.name} has the fixed format {tensor.format}: no range fits")
    max_abs = jnp.maximum(jax.lax.stop_gradient(max_abs), _SMALLEST_RANGE).astype(jnp.float32)
    if tensor.power_of_two:
        return power_of_two_above(max_abs) * 2.0 ** (1 - tensor.format.bits)
    fraction, exponent = jnp.frexp(max_abs / tensor.format.maximum)
    steps = 2.0**tensor.scale_bits
    return jnp.ldexp(jnp.ceil(fraction * steps) / steps, exponent)


def power_of_two_above(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Smallest power of two that is at least ``x`` > 0, exactly."""
    fraction, exponent = jnp.frexp(x)
    return jnp.ldexp(jnp.float32(1), exponent - (fraction == 0.5))


def weight_scale(tensor: TensorSpec, w: Float[Array, "K M"]) -> Float[Array, "..."]:
    """Scale that covers a kernel, of the tensor or of each column."""
    return range_to_scale(tensor, jnp.abs(w).max(axis=0 if tensor.per_channel else None))
