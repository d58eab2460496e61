"""Division with one rounding in every program."""

import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.typing import Array, Float, Num

Real = Num[Array, "..."] | Num[np.ndarray, "..."] | np.number | float | int
"""What has a float32."""


def divide(x: Real, by: Real) -> Float[Array, "..."]:
    """``x / by`` in float32, rounded to nearest as IEEE 754 has it and as NumPy divides.

    XLA divides by a constant, and by what it broadcasts, as a product with the reciprocal, which is
    rounded twice: a scale that is a constant in one program and an argument in another would give
    other integers once in some thousand. Here it sees two arrays that it knows nothing of.
    """
    arrays = jnp.broadcast_arrays(jnp.asarray(x, jnp.float32), jnp.asarray(by, jnp.float32))
    dividend, divisor = jax.lax.optimization_barrier(tuple(arrays))
    return jnp.divide(dividend, divisor)
