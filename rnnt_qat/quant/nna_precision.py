"""The precision of layers that run on an accelerator."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax.numpy as jnp

from rnnt_qat.accelerators.spec import AcceleratorSpec, Grain, Operator
from rnnt_qat.quant.nna_operators import NnaOperators, Slope
from rnnt_qat.quant.precision import TensorFormat
from rnnt_qat.quant.scales import range_to_scale, weight_range
from rnnt_qat.quant.sites import Role, Sites
from rnnt_qat.typing import Array, DTypeLike, Float


@dataclass(frozen=True)
class OnAccelerator:
    """All arithmetic of a layer on a chip.

    Attributes:
      spec: the chip; ``spec.with_weight_bits`` gives kernels below 8 bits.
      slope: gradient of sigmoid and tanh.
      trained_ranges: whether the calibrated ranges are trained further, those of kernels included.
      serving: whether tensors are integer arrays without gradients. The ranges of kernels are then
        stored beside the calibrated ones, as ``serving.freeze`` leaves them.
    """

    spec: AcceleratorSpec
    slope: Slope = Slope.SMOOTH
    trained_ranges: bool = False
    serving: bool = False

    def holds(self, role: Role) -> bool:
        """Returns whether the chip has a format for a role."""
        return self.spec.holds(role)

    def calibrated_roles(self) -> frozenset[Role]:
        """Returns the roles with a calibrated scale; kernels only if trained or frozen."""
        open_roles = {tensor.role for tensor in self.spec.tensors if tensor.calibrated}
        kernels_too = self.serving or self.trained_ranges
        kernels = {Role.WEIGHT, Role.GATE_WEIGHT}
        return frozenset(open_roles | kernels if kernels_too else open_roles - kernels)

    def kernel_range(self, role: Role, w: Float[Array, "K M"]) -> Float[Array, "..."]:
        """Returns the range of a kernel, without a gradient.

        Args:
          role: role of the kernel.
          w: values of the kernel.

        Returns:
          ``max_abs`` per tensor, per gate or per output channel, as the chip's format has it.
        """
        return weight_range(self.spec.tensor(role), w, role.blocks)

    def operators(self, sites: Sites, max_abs: Mapping[str, Float[Array, ""]]) -> NnaOperators:
        """Returns the chip's operators, bound to the calibrated ranges."""
        scales = {
            site: range_to_scale(self.spec.tensor(sites[site]), max_abs[site]) for site in max_abs
        }
        return NnaOperators(
            scales=scales,
            spec=self.spec,
            sites=tuple(sites.items()),
            slope=self.slope,
            integer=self.serving,
        )

    def on_chip(self) -> frozenset[Operator]:
        """Returns all operators of the chip; a layer that needs any other is rejected."""
        return self.spec.operators

    def tensor_format(self, role: Role) -> TensorFormat:
        """Returns the description of the chip's format of a role."""
        tensor = self.spec.tensor(role)
        bits = tensor.format.bits
        numbers = f"int{bits}"
        stored = tensor.format.storage
        if numbers != stored:
            numbers += f" in {stored}"
        if not tensor.calibrated:
            return TensorFormat(bits, numbers, f"{tensor.format}, fixed")
        rule = "power of two" if tensor.power_of_two else f"{tensor.scale_bits} significant bits"
        if self.trained_ranges:
            return TensorFormat(bits, numbers, f"trained, {rule}")
        if not role.is_kernel:
            return TensorFormat(bits, numbers, f"calibrated, {rule}")
        by_gate = tensor.grain is Grain.GATE and role.blocks > 1
        by_channel = tensor.grain is Grain.CHANNEL
        of = "each gate" if by_gate else "each output channel" if by_channel else "the tensor"
        return TensorFormat(bits, numbers, f"largest weight of {of}, {rule}")

    def bias_bits(self) -> int:
        """Returns the width of the chip's biases, in bits."""
        return self.spec.bias_bits

    def state_dtype(self, role: Role) -> DTypeLike:
        """Returns the role's storage dtype in serving, else float32, which carries the integers."""
        return self.spec.tensor(role).format.storage if self.serving else jnp.float32

    def for_serving(self) -> "OnAccelerator":
        """Returns the same arithmetic on integer arrays."""
        return replace(self, serving=True)
