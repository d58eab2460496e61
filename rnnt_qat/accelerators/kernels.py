"""A chip's operators as plain integer functions: int32 lanes in, int32 lanes out.

Every function takes the spec, the integers with the scales that give them meaning, and the role it
writes. Training, serving and the tests against LiteRT all run these. Scales are float32 scalars
(or one a column); where the chip wants a power of two they are one.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

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
"""A Python float where the chip fixes it, else float32."""


_ADD_SHIFT, _WIDE_ADD_SHIFT = 19, 14
"""Bits by which LiteRT's ADD shifts the coarser addend left, of 8- and of 16-bit tensors."""


class Stored(NamedTuple):
    """Integers and the real value of one step."""

    integers: Int[Array, "*S"]
    scale: Scale


class Accumulated(NamedTuple):
    """A matrix product in the accumulator, one or two words."""

    integers: Sum
    scale: Scale


Addend = Stored | Accumulated


def accumulate(
    spec: AcceleratorSpec,
    x: Stored,
    w: Stored,
    bias: Sum | None = None,
) -> Accumulated:
    """``x @ w + bias`` in the chip's accumulator.

    Args:
      spec: the chip.
      x: int8 or int16, ``[..., K]``.
      w: int8 ``[K, M]``.
      bias: at the accumulator's scale; ``Wide`` where that is wider than 32 bits.
    """
    require(spec, Operator.DOT)
    scale = accumulator_scale(x.scale, w.scale)
    if spec.accumulator.bits > 32:
        return Accumulated(dot_int16(x.integers, w.integers, bias), scale)
    return Accumulated(dot(x.integers, w.integers, bias, spec.accumulator), scale)


def accumulator_scale(x: Scale, w: Scale) -> Scale:
    """In float32, as LiteRT multiplies them."""
    return jnp.asarray(w, jnp.float32) * jnp.asarray(x, jnp.float32)


def rescale(spec: AcceleratorSpec, x: Accumulated, role: Role, scale: Scale) -> Int[Array, "*S"]:
    """An accumulator or a product at the scale of the result, int32, not yet in its range."""
    operator = spec.tensor(role).rescale
    if operator is None:
        raise ValueError(f"{spec.name} writes no products to {role.name}")
    return operator(x.integers, scale_ratio(x.scale, scale))


def into_range(spec: AcceleratorSpec, x: Int[Array, "*S"], role: Role) -> Int[Array, "*S"]:
    """Saturates or wraps, as the chip does."""
    return fit(x, spec.tensor(role).format.bits, spec.overflow)


def store(spec: AcceleratorSpec, x: Accumulated, role: Role, scale: Scale) -> Int[Array, "*S"]:
    """An accumulator written to memory (the end of FULLY_CONNECTED)."""
    return into_range(spec, rescale(spec, x, role, scale), role)


def move(spec: AcceleratorSpec, x: Stored, scale: Scale) -> Int[Array, "*S"]:
    """A stored tensor at another scale, int32, not yet in range (QUANTIZE)."""
    return spec.move_rescale(x.integers, scale_ratio(x.scale, scale))


def add(
    spec: AcceleratorSpec,
    a: Stored | Accumulated,
    b: Stored | Accumulated,
    role: Role,
    scale: Scale,
) -> Int[Array, "*S"]:
    """``a + b`` (ADD); an accumulator is first brought to the result's scale."""
    return into_range(spec, unbounded_sum(spec, a, b, role, scale), role)


def unbounded_sum(
    spec: AcceleratorSpec,
    a: Stored | Accumulated,
    b: Stored | Accumulated,
    role: Role,
    scale: Scale,
) -> Int[Array, "*S"]:
    """``a + b`` at the result's scale, before it is brought into range."""
    a, b = (_addend(spec, x, role, scale) for x in (a, b))
    grid = sum_grid(spec, (a.scale, b.scale), role, scale)
    total = on_sum_grid(spec, a, grid) + on_sum_grid(spec, b, grid)
    return from_sum_grid(spec, Stored(total, grid), scale)


def sum_grid(spec: AcceleratorSpec, addends: Sequence[Scale], role: Role, scale: Scale) -> Scale:
    """Scale at which ADD forms its sum.

    Args:
      spec: the chip.
      addends: their scales.
      role: of the result.
      scale: of the result.
    """
    require(spec, Operator.ADD)
    if spec.add_grid is AddGrid.RESULT:
        return scale
    finest = 2.0 ** -(_WIDE_ADD_SHIFT if spec.tensor(role).format.bits > 8 else _ADD_SHIFT)
    if all(isinstance(each, float) for each in (*addends, scale)):
        # On one scale there is nothing to shift (an LSTM's gates and cell).
        return scale if {*addends} == {scale} else max(addends) * finest
    coarsest = functools.reduce(jnp.maximum, (jnp.asarray(s, jnp.float32) for s in addends))
    return coarsest * finest


def on_sum_grid(spec: AcceleratorSpec, x: Stored, grid: Scale) -> Int[Array, "*S"]:
    """An addend as ADD adds it: it depends on nothing else. Two of them add up within 32 bits."""
    ratio = scale_ratio(x.scale, grid)
    if isinstance(ratio, float) and ratio == 1.0:
        return x.integers
    return saturate(ShiftRescale(spec.add_rounding)(x.integers, ratio), 31)


def from_sum_grid(spec: AcceleratorSpec, total: Stored, scale: Scale) -> Int[Array, "*S"]:
    """A sum at the result's scale, before it is brought into range."""
    if spec.add_grid is AddGrid.RESULT:
        return total.integers
    ratio = scale_ratio(total.scale, scale)
    if isinstance(ratio, float) and ratio == 1.0:
        return total.integers
    # gemmlowp's multiplier of a power of two: the high product halves, ties up, and the shift
    # rounds the rest. Results as fine as the grid, on which LiteRT aborts, need none.
    halved = (total.integers >> 1) + (total.integers & 1)
    twice = shift_right(halved, _at_most_half(ratio), spec.add_rounding)
    if isinstance(ratio, float):
        return twice if ratio < 1 else shift_left(total.integers, ratio)
    return jnp.where(ratio < 1, twice, shift_left(total.integers, jnp.maximum(ratio, 1)))


def _at_most_half(ratio: Ratio) -> Ratio:
    """Twice the ratio, what is left of it once the sum is halved."""
    return min(2 * ratio, 1.0) if isinstance(ratio, float) else jnp.minimum(2 * ratio, 1.0)


def mul(spec: AcceleratorSpec, a: Stored, b: Stored, role: Role, scale: Scale) -> Int[Array, "*S"]:
    """``a * b`` (MUL); products of 16 by 16 bits fit 32."""
    return into_range(spec, unbounded_product(spec, a, b, role, scale), role)


def unbounded_product(
    spec: AcceleratorSpec, a: Stored, b: Stored, role: Role, scale: Scale
) -> Int[Array, "*S"]:
    """``a * b`` at the result's scale, before it is brought into range."""
    require(spec, Operator.MUL)
    return rescale(spec, Accumulated(a.integers * b.integers, a.scale * b.scale), role, scale)


def unbounded_norm(
    spec: AcceleratorSpec, x: Int[Array, "*S N"], bits: int, role: Role, scale: Scale
) -> Int[Array, "*S N"]:
    """Rows normalized to mean 0 and variance 1, before they are brought into range.

    Args:
      spec: the chip.
      x: integers of any scale.
      bits: their width.
      role: of the result.
      scale: of the result.
    """
    require(spec, Operator.LAYER_NORM)
    normalized = layer_norm.normalize(x, bits)
    return rescale(spec, Accumulated(normalized, 2.0**-layer_norm.FRAC_BITS), role, scale)


def unit(spec: AcceleratorSpec, role: Role, operator: Operator) -> Activation:
    """The sigmoid or tanh unit that writes a role (LOGISTIC, TANH).

    Raises:
      ValueError: the chip has none.
    """
    require(spec, operator)
    tensor = spec.tensor(role)
    found = tensor.sigmoid if operator is Operator.SIGMOID else tensor.tanh
    if found is None:
        raise ValueError(f"{spec.name} has no {operator.value} that writes {role.name}")
    return found


def require(spec: AcceleratorSpec, operator: Operator) -> None:
    """Refuses an operator that the chip lacks.

    Raises:
      ValueError: says what to do.
    """
    if operator not in spec.operators:
        raise ValueError(
            f"{spec.name} has no {operator.value}; give the layer a precision that leaves this "
            "operator to the CPU"
        )


def scale_ratio(scale: Scale, result: Scale) -> Ratio:
    """In float32 as LiteRT's LSTM divides; exact on the host, where both are powers of two."""
    if isinstance(scale, float) and isinstance(result, float):
        return scale / result
    return divide(scale, result)


def _addend(spec: AcceleratorSpec, x: Addend, role: Role, scale: Scale) -> Stored:
    if isinstance(x, Stored):
        return x
    if spec.fused_gate_sum:
        return Stored(saturate(rescale(spec, x, role, scale), 31), scale)
    return Stored(store(spec, x, role, scale), scale)
