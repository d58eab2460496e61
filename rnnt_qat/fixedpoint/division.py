"""Division that rounds once, whatever XLA knows about its operands."""

import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.typing import Array, Float, Num

Real = Num[Array, "..."] | Num[np.ndarray, "..."] | np.number | float | int
"""Values that convert to float32 or float64."""


def divide(x: Real, by: Real) -> Float[Array, "..."]:
    """Computes ``x / by`` rounded once to nearest (IEEE 754, as NumPy).

    XLA rewrites the division by a constant or by a broadcast value to a product with the
    reciprocal, which is rounded twice. A scale that is a constant in one program and an argument in
    another would then give different integers, about once in a thousand. The optimization barrier
    hides the origin of both operands, so XLA emits a true division.

    Args:
      x: dividend.
      by: divisor; broadcasts with ``x``.

    Returns:
      The quotient, float32; float64 if an operand is a JAX array of float64.
    """
    held = [each.dtype for each in (x, by) if isinstance(each, jax.Array)]
    real = jnp.float64 if jnp.float64 in held else jnp.float32
    arrays = jnp.broadcast_arrays(jnp.asarray(x, real), jnp.asarray(by, real))
    dividend, divisor = jax.lax.optimization_barrier(tuple(arrays))
    return jnp.divide(dividend, divisor)
