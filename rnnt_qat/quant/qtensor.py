"""Fixed-point tensors: integers and their scale."""

from collections.abc import Callable

import flax.struct
import jax.numpy as jnp

from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.typing import Array, Float, Int, Num

LOW_BITS = 16
"""Number of low bits of an accumulator held separately in ``QTensor.low``."""


@flax.struct.dataclass
class QTensor:
    """Symmetric fixed-point tensor, ``real = integer * scale``.

    Attributes:
      values: the integers. In training they are float32 (differentiable, exact below 2^24); in
        serving int8, int16 or int32.
      scale: real value of one step; a scalar, or one per column (last axis) for weights and
        accumulators. A Python float if the chip fixes it.
      low: for an accumulator that may exceed what ``values`` holds exactly, the lowest 16 bits, in
        [0, 65535]. The integer is then ``values + low`` in training, where ``values`` is a multiple
        of 2^16, and ``values * 2^16 + low`` in serving. The gradient flows through ``values`` only.
      integers: in training, the complete integer as int32 if the operator computed it, else None.
        It saves its readers a conversion; no gradient flows through it.
      format: format of a stored tensor; None for an accumulator.
    """

    values: Num[Array, "*S"]
    scale: float | Float[Array, ""] | Float[Array, "M"]
    low: Num[Array, "*S"] | None = None
    integers: Int[Array, "*S"] | None = None
    format: QFormat | None = flax.struct.field(pytree_node=False, default=None)


@flax.struct.dataclass
class Addend:
    """A stored tensor on the grid on which a chip adds it to others, in training.

    Attributes:
      values: float32, for the gradient.
      integers: int32, the operand of the sum.
    """

    values: Float[Array, "*S"]
    integers: Int[Array, "*S"]


def dequantize(x: Array | QTensor) -> Array:
    """Returns the real values of a tensor or an array."""
    if not isinstance(x, QTensor):
        return x
    values = x.values.astype(jnp.float32)
    if x.low is None:
        return values * x.scale
    if jnp.issubdtype(x.values.dtype, jnp.integer):
        values = values * 2.0**LOW_BITS
    return (values + x.low.astype(jnp.float32)) * x.scale


def map_values(fn: Callable[[Array], Array], x: Array | QTensor) -> Array | QTensor:
    """Applies a function that moves values (reshape, slice, stack) and keeps the format.

    Args:
      fn: maps an array to an array of the same values.
      x: an array or tensor.
    """
    if not isinstance(x, QTensor):
        return fn(x)
    low, integers = (None if part is None else fn(part) for part in (x.low, x.integers))
    return QTensor(fn(x.values), x.scale, low, integers, x.format)
