"""Scales of a chip's formats from ranges."""

import math

import jax
import jax.numpy as jnp

from rnnt_qat.accelerators.kernels import Scale
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AcceleratorSpec, Grain, TensorSpec
from rnnt_qat.fixedpoint.division import divide
from rnnt_qat.quant.straight_through import straight_through
from rnnt_qat.typing import Array, Float

_SMALLEST_RANGE = 2.0**-30


def range_to_scale(tensor: TensorSpec, max_abs: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns the scale of a calibrated format that covers ``[-max_abs, max_abs]``.

    A power-of-two scale is rounded up, so that the range holds all but the last step (Jain et al.,
    2020, section 3.2); any other is rounded up to the chip's ``scale_bits``. The gradient passes
    straight through the rounding on a logarithmic axis: the scale is proportional to the range.

    Args:
      tensor: the chip's format.
      max_abs: ranges, one per scale.

    Raises:
      ValueError: the chip fixes the scale of this format.
    """
    if not tensor.calibrated:
        raise ValueError(f"{tensor.role.name} has the fixed format {tensor.format}: no range fits")
    max_abs = jnp.maximum(max_abs, _SMALLEST_RANGE).astype(jnp.float32)
    covered = jax.lax.stop_gradient(max_abs)
    if tensor.power_of_two:
        scale = power_of_two_above(covered) * 2.0 ** (1 - tensor.format.bits)
    else:
        fraction, exponent = jnp.frexp(divide(covered, tensor.format.maximum))
        steps = 2.0**tensor.scale_bits
        scale = jnp.ldexp(jnp.ceil(fraction * steps) / steps, exponent)
    return straight_through(scale, scale * (max_abs / covered))


def power_of_two_above(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns the smallest power of two that is at least ``x`` > 0, exactly."""
    fraction, exponent = jnp.frexp(x)
    return jnp.ldexp(jnp.float32(1), exponent - (fraction == 0.5))


_NARROW_STEP = {2: 1.224, 3: 0.6508, 4: 0.3534, 5: 0.1932, 6: 0.1055}
"""Step of the best symmetric uniform quantizer of Gaussian values, in standard deviations, by bits.

It has the least squared error (Max 1960, "Quantizing for minimum distortion", section IV).
"""

_SMALLER_STEP = 1.3
"""Factor by which a power-of-two step may be too small before the next one has less error."""

_LEVELS = 127


def weight_scale(
    tensor: TensorSpec, w: Float[Array, "K M"], blocks: int = 1
) -> Float[Array, "..."]:
    """Returns the scale of a kernel from its ``weight_range``, without a gradient.

    Args:
      tensor: the chip's format of kernels.
      w: the kernel.
      blocks: number of gates side by side in its columns.
    """
    return range_to_scale(tensor, weight_range(tensor, w, blocks))


def weight_range(
    tensor: TensorSpec, w: Float[Array, "K M"], blocks: int = 1
) -> Float[Array, "..."]:
    """Returns the range of a kernel, without a gradient.

    From 7 bits on, the range covers every weight. A narrower grid that reached the largest weight
    would round most others to zero, so its step suits the bulk of the weights, and weights outside
    saturate.

    Args:
      tensor: the chip's format of kernels.
      w: the kernel.
      blocks: number of gates side by side in its columns.

    Returns:
      A scalar, or ``[blocks]`` or ``[M]`` if gates or columns have separate ranges.
    """
    by_gate = tensor.grain is Grain.GATE and blocks > 1
    if by_gate:
        w = w.reshape(w.shape[0], blocks, -1)
    axis = {Grain.GATE: (0, 2) if by_gate else None, Grain.CHANNEL: 0}.get(tensor.grain)
    magnitude = jax.lax.stop_gradient(jnp.abs(w))
    max_abs = magnitude.max(axis=axis, keepdims=True)
    bits = tensor.format.bits
    if bits not in _NARROW_STEP:
        return max_abs.squeeze(axis)
    # A sum of integers does not depend on the order, so the step is equal in every program.
    covered = jnp.maximum(max_abs, _SMALLEST_RANGE)
    levels = jnp.round(divide(magnitude, covered) * _LEVELS).astype(jnp.int32)
    count = w.size // max_abs.size
    mean = divide(levels.sum(axis=axis, keepdims=True), _LEVELS * count) * covered
    # Power-of-two scales are rounded up from here.
    powers = 2.0 ** (bits - 1) / _SMALLER_STEP
    steps = powers if tensor.power_of_two else tensor.format.maximum
    # the first factor estimates a Gaussian's deviation
    of_mean = math.sqrt(math.pi / 2) * _NARROW_STEP[bits] * steps
    return jnp.minimum(max_abs, mean * of_mean).squeeze(axis)


def by_column(scale: Float[Array, "..."], columns: int) -> Float[Array, "..."]:
    """Returns a kernel's scale as products need it: a scalar, or one scale per column.

    Args:
      scale: a scalar, or one scale per gate or column.
      columns: number of columns of the kernel.
    """
    if scale.ndim == 0 or scale.shape[0] == columns:
        return scale
    return jnp.repeat(scale, columns // scale.shape[0])


def bias_range(
    spec: AcceleratorSpec, role: Role, x_scale: Scale, bias: Float[Array, "M"], depth: int
) -> Float[Array, "..."]:
    """Returns the smallest range of a kernel that lets a bias and its sum fit the accumulator.

    A bias is stored at the scale of the products. Next to a kernel much smaller than its bias, the
    bias would not fit its integer. The range of the kernel is therefore raised to this one: the
    kernel loses bits, which matter little beside such a bias, and neither the bias nor the sum
    overflows. No gradient flows through the result.

    Args:
      spec: the chip.
      role: role of the kernel.
      x_scale: scale of the other operand of the product.
      bias: real values.
      depth: number of products in a sum, K.

    Returns:
      A scalar, or one range per gate or column, as ``weight_range``.
    """
    tensor = spec.tensor(role)
    magnitude = jax.lax.stop_gradient(jnp.abs(bias)).astype(jnp.float32)
    if tensor.grain is Grain.GATE and role.blocks > 1:
        magnitude = magnitude.reshape(role.blocks, -1).max(axis=1)
    elif tensor.grain is not Grain.CHANNEL:
        magnitude = magnitude.max()
    steps = 2 ** (tensor.format.bits - 1) if tensor.power_of_two else tensor.format.maximum
    return divide(magnitude * (steps / largest_bias(spec, depth)), jax.lax.stop_gradient(x_scale))


def largest_bias(spec: AcceleratorSpec, depth: int) -> float:
    """Returns the largest integer allowed for a bias beside ``depth`` products of any size.

    If the products alone can fill the accumulator, the bias gets half of its range: such a chip
    saturates by design.

    Args:
      spec: the chip.
      depth: number of products in a sum, K.
    """
    operands = (Role.INPUT, Role.HIDDEN, Role.JOINT_HIDDEN)
    widest = max(tensor.format.bits for tensor in spec.tensors if tensor.role in operands)
    products = depth * 2.0 ** (widest - 1) * spec.tensor(Role.WEIGHT).format.maximum
    room = max(2.0 ** (spec.accumulator.bits - 1) - products, 2.0 ** (spec.accumulator.bits - 2))
    # Leaves a margin for the rounding of scales to float32 that follows.
    return min(room, 2.0 ** (spec.bias_bits - 1)) * (1 - 2.0**-20)
