"""The precision of layers that run on an accelerator."""

from collections.abc import Mapping
from dataclasses import dataclass

from rnnt_qat.accelerators.spec import AcceleratorSpec
from rnnt_qat.quant.nna_operators import NnaOperators, Slope
from rnnt_qat.quant.scales import range_to_scale
from rnnt_qat.quant.sites import Role, Sites
from rnnt_qat.typing import Array, Float


@dataclass(frozen=True)
class OnAccelerator:
    """All arithmetic of a layer on a chip.

    Attributes:
      spec: the chip; ``spec.with_weight_bits`` for kernels below 8 bits.
      slope: gradient of sigmoid and tanh.
    """

    spec: AcceleratorSpec
    slope: Slope = Slope.SMOOTH

    def calibrated_roles(self) -> frozenset[Role]:
        """Roles whose scale the chip leaves open; a kernel's follows the kernel."""
        open_roles = {tensor.role for tensor in self.spec.tensors if tensor.calibrated}
        return frozenset(open_roles - {Role.WEIGHT})

    def operators(self, sites: Sites, max_abs: Mapping[str, Float[Array, ""]]) -> NnaOperators:
        """Operators bound to the calibrated ranges."""
        scales = {
            site: range_to_scale(self.spec.tensor(sites[site]), max_abs[site]) for site in max_abs
        }
        return NnaOperators(
            scales=scales, spec=self.spec, sites=tuple(sites.items()), slope=self.slope
        )
