"""From a range to the scale that a chip's format gives it."""

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
    """Scale of a calibrated format that covers ``[-max_abs, max_abs]``.

    A power-of-two scale is rounded up, so that the range holds all but the last step (Jain et al.,
    2020, section 3.2); any other is rounded up to the chip's ``scale_bits``. Both are straight
    through on a logarithmic axis: the scale grows in proportion to the range.

    Raises:
      ValueError: the chip fixes this format.
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
    """Smallest power of two that is at least ``x`` > 0, exactly."""
    fraction, exponent = jnp.frexp(x)
    return jnp.ldexp(jnp.float32(1), exponent - (fraction == 0.5))


_NARROW_STEP = {2: 1.224, 3: 0.6508, 4: 0.3534, 5: 0.1932, 6: 0.1055}
"""Step, in standard deviations, of the symmetric uniform quantizer that has the least squared error
on Gaussian values (Max 1960, "Quantizing for minimum distortion", section IV)."""

_SMALLER_STEP = 1.3
"""How much too small a power of two may be as a step before the next one has less error."""

_LEVELS = 127


def weight_scale(
    tensor: TensorSpec, w: Float[Array, "K M"], blocks: int = 1
) -> Float[Array, "..."]:
    """Scale of a kernel as ``weight_range`` has its range; no gradient."""
    return range_to_scale(tensor, weight_range(tensor, w, blocks))


def weight_range(
    tensor: TensorSpec, w: Float[Array, "K M"], blocks: int = 1
) -> Float[Array, "..."]:
    """Range of a kernel; no gradient.

    From 7 bits on it covers every weight. Narrower grids would round most of the others to
    zero to reach the largest one, so their step is the one that suits the bulk, and what lies
    outside saturates.

    Args:
      tensor: the chip's entry for kernels.
      w: the kernel.
      blocks: parts of its columns that are different gates.

    Returns:
      A scalar, or ``[blocks]`` or ``[M]`` where gates or columns have ranges of their own.
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
    # A sum of integers is the same in any order: the step must not differ between programs.
    covered = jnp.maximum(max_abs, _SMALLEST_RANGE)
    levels = jnp.round(divide(magnitude, covered) * _LEVELS).astype(jnp.int32)
    count = w.size // max_abs.size
    mean = divide(levels.sum(axis=axis, keepdims=True), _LEVELS * count) * covered
    # A power of two is rounded up from here.
    powers = 2.0 ** (bits - 1) / _SMALLER_STEP
    steps = powers if tensor.power_of_two else tensor.format.maximum
    of_mean = math.sqrt(math.pi / 2) * _NARROW_STEP[bits] * steps  # a Gaussian's deviation first
    return jnp.minimum(max_abs, mean * of_mean).squeeze(axis)


def by_column(scale: Float[Array, "..."], columns: int) -> Float[Array, "..."]:
    """A kernel's scale as products take it: a scalar, or one a column where gates have theirs."""
    if scale.ndim == 0 or scale.shape[0] == columns:
        return scale
    return jnp.repeat(scale, columns // scale.shape[0])


def bias_range(
    spec: AcceleratorSpec, role: Role, x_scale: Scale, bias: Float[Array, "M"], depth: int
) -> Float[Array, "..."]:
    """Smallest range of a kernel with which a bias and its sum fit the accumulator; no gradient.

    A bias is held at the scale of the products, so that a kernel far smaller than its bias would
    leave the bias no integer. A kernel's range is raised to this one: the kernel loses bits, which
    weigh little beside such a bias, and neither the bias nor the sum overflows.

    Args:
      spec: the chip.
      role: of the kernel.
      x_scale: scale of what the kernel is multiplied with.
      bias: real values.
      depth: products in a sum, K.

    Returns:
      A scalar, or one a gate or column, as ``weight_range``.
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
    """Largest integer that a bias may be, for ``depth`` products of any size beside it.

    An accumulator that the products alone can fill leaves the bias half of its range: such a chip
    saturates by design.
    """
    operands = (Role.INPUT, Role.HIDDEN, Role.JOINT_HIDDEN)
    widest = max(tensor.format.bits for tensor in spec.tensors if tensor.role in operands)
    products = depth * 2.0 ** (widest - 1) * spec.tensor(Role.WEIGHT).format.maximum
    room = max(2.0 ** (spec.accumulator.bits - 1) - products, 2.0 ** (spec.accumulator.bits - 2))
    # Scales are rounded to float32 after this: a little is left for that.
    return min(room, 2.0 ** (spec.bias_bits - 1)) * (1 - 2.0**-20)
