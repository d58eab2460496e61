"""A value on the chip's grid: integers and the scale that gives them meaning."""

from collections.abc import Callable

import flax.struct
import jax.numpy as jnp

from rnnt_qat.typing import Array, Float, Num


@flax.struct.dataclass
class QTensor:
    """Symmetric fixed-point tensor, ``real = values * scale``.

    Attributes:
      values: the integers. In training they travel as float32 (differentiable, exact below 2^24);
        in serving as int8, int16 or int32.
      scale: real value of one step; a scalar, or one a column (last axis) for weights and
        accumulators.
    """

    values: Num[Array, "*S"]
    scale: Float[Array, ""] | Float[Array, "M"]


def dequantize(x: Array | QTensor) -> Array:
    """Real values of a tensor, whichever way it is held."""
    return x.values.astype(jnp.float32) * x.scale if isinstance(x, QTensor) else x


def map_values(fn: Callable[[Array], Array], x: Array | QTensor) -> Array | QTensor:
    """Moves values about (reshape, slice, stack) and leaves the format alone."""
    return x.replace(values=fn(x.values)) if isinstance(x, QTensor) else fn(x)
