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
      spec: the chip; ``spec.with_weight_bits`` for kernels below 8 bits.
      slope: gradient of sigmoid and tanh.
      trained_ranges: ranges are trained once they are calibrated, those of kernels too.
      serving: hold every tensor as integers, without gradients. Kernels then have their ranges
        beside the calibrated ones, as ``serving.freeze`` leaves them.
    """

    spec: AcceleratorSpec
    slope: Slope = Slope.SMOOTH
    trained_ranges: bool = False
    serving: bool = False

    def holds(self, role: Role) -> bool:
        """What the chip holds."""
        return self.spec.holds(role)

    def calibrated_roles(self) -> frozenset[Role]:
        """Roles whose scale the chip leaves open; a kernel's only if trained or frozen."""
        open_roles = {tensor.role for tensor in self.spec.tensors if tensor.calibrated}
        kernels_too = self.serving or self.trained_ranges
        kernels = {Role.WEIGHT, Role.GATE_WEIGHT}
        return frozenset(open_roles | kernels if kernels_too else open_roles - kernels)

    def kernel_range(self, role: Role, w: Float[Array, "K M"]) -> Float[Array, "..."]:
        """Range that a kernel calls for; no gradient."""
        return weight_range(self.spec.tensor(role), w, role.blocks)

    def operators(self, sites: Sites, max_abs: Mapping[str, Float[Array, ""]]) -> NnaOperators:
        """Operators bound to the calibrated ranges."""
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
        """Whatever the chip has; a layer that needs another operator is refused."""
        return self.spec.operators

    def tensor_format(self, role: Role) -> TensorFormat:
        """The chip's format of the role."""
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
        """The chip's."""
        return self.spec.bias_bits

    def state_dtype(self, role: Role) -> DTypeLike:
        """The role's storage in serving; float32 carries the integers in training."""
        return self.spec.tensor(role).format.storage if self.serving else jnp.float32

    def for_serving(self) -> "OnAccelerator":
        """On integer arrays."""
        return replace(self, serving=True)
