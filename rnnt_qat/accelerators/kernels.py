"""A chip's operators as plain integer functions: int32 lanes in, int32 lanes out.

Every function takes the specification, integers with their scales, and the role of the result.
Training, serving and the tests against LiteRT all use these functions. Scales are float32 scalars
(or one per column); they are powers of two where the chip requires it.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AcceleratorSpec, AddGrid, Operator
from rnnt_qat.fixedpoint import layer_norm
from rnnt_qat.fixedpoint.activation import Activation
from rnnt_qat.fixedpoint.division import divide
from rnnt_qat.fixedpoint.dot import dot, dot_int16
from rnnt_qat.fixedpoint.requantize import (
    Ratio,
    ShiftRescale,
    Sum,
    shift_left,
    shift_right,
)
from rnnt_qat.fixedpoint.saturation import fit, saturate
from rnnt_qat.typing import Array, Float, Int

Scale = float | Float[Array, "..."]
"""A Python float if the chip fixes it, else float32."""


_ADD_SHIFT, _WIDE_ADD_SHIFT = 19, 14
"""Bits by which LiteRT's ADD shifts the coarser addend left, for 8-bit and for 16-bit tensors."""


class Stored(NamedTuple):
    """A tensor in memory.

    Attributes:
      integers: its integers.
      scale: real value of one step.
    """

    integers: Int[Array, "*S"]
    scale: Scale


class Accumulated(NamedTuple):
    """A matrix product in the accumulator.

    Attributes:
      integers: the sums, in one or two words.
      scale: real value of one step.
    """

    integers: Sum
    scale: Scale


Addend = Stored | Accumulated


def accumulate(
    spec: AcceleratorSpec,
    x: Stored,
    w: Stored,
    bias: Sum | None = None,
) -> Accumulated:
    """Computes ``x @ w + bias`` in the chip's accumulator.

    Args:
      spec: the chip.
      x: int8 or int16, ``[..., K]``.
      w: int8 ``[K, M]``.
      bias: ``[M]`` at the accumulator's scale; ``Wide`` if that has more than 32 bits.

    Raises:
      ValueError: the chip has no matrix products.
    """
    require(spec, Operator.DOT)
    scale = accumulator_scale(spec, x.scale, w.scale)
    if spec.accumulator.bits > 32:
        return Accumulated(dot_int16(x.integers, w.integers, bias), scale)
    return Accumulated(dot(x.integers, w.integers, bias, spec.accumulator), scale)


def accumulator_scale(spec: AcceleratorSpec, x: Scale, w: Scale) -> Scale:
    """Returns the scale of a product of operands, multiplied in float32 as in LiteRT.

    Raises:
      ValueError: the chip forms ratios in float64, and JAX has none (``jax.enable_x64``).
    """
    real = jnp.float64 if spec.double_ratios else jnp.float32
    if jax.dtypes.canonicalize_dtype(real) != real:
        raise ValueError(f"{spec.name} forms ratios in float64: compute under jax.enable_x64(True)")
    return jnp.asarray(w, real) * jnp.asarray(x, real)


def rescale(spec: AcceleratorSpec, x: Accumulated, role: Role, scale: Scale) -> Int[Array, "*S"]:
    """Rescales an accumulator or a product to the scale of the result, without limiting its range.

    Args:
      spec: the chip.
      x: the accumulator.
      role: role of the result.
      scale: scale of the result.

    Returns:
      int32, for ``into_range``.

    Raises:
      ValueError: the chip writes no products to this role.
    """
    operator = spec.tensor(role).rescale
    if operator is None:
        raise ValueError(f"{spec.name} writes no products to {role.name}")
    if spec.double_ratios:
        scale = jnp.asarray(scale, jnp.float64)
    return operator(x.integers, scale_ratio(x.scale, scale))


def into_range(spec: AcceleratorSpec, x: Int[Array, "*S"], role: Role) -> Int[Array, "*S"]:
    """Saturates or wraps to the width of a role, as the chip does."""
    return fit(x, spec.tensor(role).format.bits, spec.overflow)


def store(spec: AcceleratorSpec, x: Accumulated, role: Role, scale: Scale) -> Int[Array, "*S"]:
    """Writes an accumulator to memory (the end of FULLY_CONNECTED).

    Args:
      spec: the chip.
      x: the accumulator.
      role: role of the result.
      scale: scale of the result.
    """
    return into_range(spec, rescale(spec, x, role, scale), role)


def move(spec: AcceleratorSpec, x: Stored, scale: Scale) -> Int[Array, "*S"]:
    """Rescales a stored tensor, without limiting its range (QUANTIZE).

    Args:
      spec: the chip.
      x: the tensor.
      scale: scale of the result.

    Returns:
      int32, for ``into_range``.
    """
    return spec.move_rescale(x.integers, scale_ratio(x.scale, scale))


def add(
    spec: AcceleratorSpec,
    a: Stored | Accumulated,
    b: Stored | Accumulated,
    role: Role,
    scale: Scale,
) -> Int[Array, "*S"]:
    """Computes ``a + b`` (ADD); accumulators are rescaled to the result first.

    Args:
      spec: the chip.
      a: the first addend.
      b: the second addend.
      role: role of the result.
      scale: scale of the result.
    """
    return into_range(spec, unbounded_sum(spec, a, b, role, scale), role)


def unbounded_sum(
    spec: AcceleratorSpec,
    a: Stored | Accumulated,
    b: Stored | Accumulated,
    role: Role,
    scale: Scale,
) -> Int[Array, "*S"]:
    """Computes ``a + b`` at the scale of the result, without limiting its range.

    Args:
      spec: the chip.
      a: the first addend.
      b: the second addend.
      role: role of the result.
      scale: scale of the result.
    """
    a, b = (_addend(spec, x, role, scale) for x in (a, b))
    grid = sum_grid(spec, (a.scale, b.scale), role, scale)
    total = on_sum_grid(spec, a, grid) + on_sum_grid(spec, b, grid)
    return from_sum_grid(spec, Stored(total, grid), scale)


def sum_grid(spec: AcceleratorSpec, addends: Sequence[Scale], role: Role, scale: Scale) -> Scale:
    """Returns the scale at which ADD computes its sum.

    Args:
      spec: the chip.
      addends: scales of the addends.
      role: role of the result.
      scale: scale of the result.
    """
    require(spec, Operator.ADD)
    if spec.add_grid is AddGrid.RESULT:
        return scale
    finest = 2.0 ** -(_WIDE_ADD_SHIFT if spec.tensor(role).format.bits > 8 else _ADD_SHIFT)
    if all(isinstance(each, float) for each in (*addends, scale)):
        # Equal scales need no shift (the gates and cell of an LSTM).
        return scale if {*addends} == {scale} else max(addends) * finest
    coarsest = functools.reduce(jnp.maximum, (jnp.asarray(s, jnp.float32) for s in addends))
    return coarsest * finest


def on_sum_grid(spec: AcceleratorSpec, x: Stored, grid: Scale) -> Int[Array, "*S"]:
    """Rescales an addend to the grid of a sum.

    The result does not depend on the other addend. It is saturated to 31 bits, so that the sum of
    two addends fits 32 bits.

    Args:
      spec: the chip.
      x: the addend.
      grid: the result of ``sum_grid``.
    """
    ratio = scale_ratio(x.scale, grid)
    if isinstance(ratio, float) and ratio == 1.0:
        return x.integers
    return saturate(ShiftRescale(spec.add_rounding)(x.integers, ratio), 31)


def from_sum_grid(spec: AcceleratorSpec, total: Stored, scale: Scale) -> Int[Array, "*S"]:
    """Rescales a sum to the scale of the result, without limiting its range.

    Args:
      spec: the chip.
      total: the sum, at the scale of ``sum_grid``.
      scale: scale of the result.
    """
    if spec.add_grid is AddGrid.RESULT:
        return total.integers
    ratio = scale_ratio(total.scale, scale)
    if isinstance(ratio, float) and ratio == 1.0:
        return total.integers
    # gemmlowp's multiplier of a power of two: the high product halves with ties up, and the shift
    # rounds the rest. A result as fine as the grid, on which LiteRT aborts, has no shift.
    halved = (total.integers >> 1) + (total.integers & 1)
    twice = shift_right(halved, _at_most_half(ratio), spec.add_rounding)
    if isinstance(ratio, float):
        return twice if ratio < 1 else shift_left(total.integers, ratio)
    return jnp.where(ratio < 1, twice, shift_left(total.integers, jnp.maximum(ratio, 1)))


def _at_most_half(ratio: Ratio) -> Ratio:
    """Returns twice the ratio: the part that remains after the sum is halved."""
    return min(2 * ratio, 1.0) if isinstance(ratio, float) else jnp.minimum(2 * ratio, 1.0)


def mul(spec: AcceleratorSpec, a: Stored, b: Stored, role: Role, scale: Scale) -> Int[Array, "*S"]:
    """Computes ``a * b`` (MUL); products of 16 by 16 bits fit 32 bits.

    Args:
      spec: the chip.
      a: the first factor.
      b: the second factor.
      role: role of the result.
      scale: scale of the result.
    """
    return into_range(spec, unbounded_product(spec, a, b, role, scale), role)


def unbounded_product(
    spec: AcceleratorSpec, a: Stored, b: Stored, role: Role, scale: Scale
) -> Int[Array, "*S"]:
    """Computes ``a * b`` at the scale of the result, without limiting its range.

    Args:
      spec: the chip.
      a: the first factor.
      b: the second factor.
      role: role of the result.
      scale: scale of the result.
    """
    require(spec, Operator.MUL)
    return rescale(spec, Accumulated(a.integers * b.integers, a.scale * b.scale), role, scale)


def unbounded_norm(
    spec: AcceleratorSpec, x: Int[Array, "*S N"], bits: int, role: Role, scale: Scale
) -> Int[Array, "*S N"]:
    """Computes rows of mean 0 and variance 1, before they are brought into range.

    Args:
      spec: the chip.
      x: integers of any scale.
      bits: width of the integers.
      role: role of the result.
      scale: scale of the result.
    """
    require(spec, Operator.LAYER_NORM)
    normalized = layer_norm.normalize(x, bits)
    return rescale(spec, Accumulated(normalized, 2.0**-layer_norm.FRAC_BITS), role, scale)


def unit(spec: AcceleratorSpec, role: Role, operator: Operator) -> Activation:
    """Returns the sigmoid or tanh unit that writes a role (LOGISTIC, TANH).

    Args:
      spec: the chip.
      role: role of the result.
      operator: ``Operator.SIGMOID`` or ``Operator.TANH``.

    Raises:
      ValueError: the chip has no such unit.
    """
    require(spec, operator)
    tensor = spec.tensor(role)
    found = tensor.sigmoid if operator is Operator.SIGMOID else tensor.tanh
    if found is None:
        raise ValueError(f"{spec.name} has no {operator.value} that writes {role.name}")
    return found


def require(spec: AcceleratorSpec, operator: Operator) -> None:
    """Checks that the chip has an operator.

    Raises:
      ValueError: it does not; says what to do.
    """
    if operator not in spec.operators:
        raise ValueError(
            f"{spec.name} has no {operator.value}; give the layer a precision that leaves this "
            "operator to the CPU"
        )


def scale_ratio(scale: Scale, result: Scale) -> Ratio:
    """Returns ``scale / result``, in float32 as LiteRT's LSTM divides them, or in float64.

    Python floats are powers of two, whose ratio is exact.
    """
    if isinstance(scale, float) and isinstance(result, float):
        return scale / result
    return divide(scale, result)


def _addend(spec: AcceleratorSpec, x: Addend, role: Role, scale: Scale) -> Stored:
    if isinstance(x, Stored):
        return x
    if spec.fused_gate_sum:
        return Stored(saturate(rescale(spec, x, role, scale), 31), scale)
    return Stored(store(spec, x, role, scale), scale)
