"""A chip's formats without its arithmetic: isolates the cost of rounding some tensors."""

from collections.abc import Mapping
from dataclasses import dataclass

import flax.struct
import jax.numpy as jnp

from rnnt_qat.accelerators.kernels import Scale
from rnnt_qat.accelerators.spec import AcceleratorSpec, Operator
from rnnt_qat.quant import smooth_units
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.operators import Addends, FloatOperators, Value
from rnnt_qat.quant.precision import FLOAT32_FORMAT, TensorFormat
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.quant.scales import by_column, range_to_scale, weight_scale
from rnnt_qat.quant.sites import Role, Sites
from rnnt_qat.quant.straight_through import quantize_straight_through
from rnnt_qat.typing import Array, DTypeLike, Float, Int, Num


@flax.struct.dataclass
class GridOperators:
    """Float operators that round the tensors of chosen roles to the chip's grid; values stay real.

    Attributes:
      scales: real value of one step of each calibrated site.
      spec: the chip.
      sites: the role of every site.
      roles: the roles that are rounded.
    """

    scales: dict[str, Float[Array, ""]]
    spec: AcceleratorSpec = flax.struct.field(pytree_node=False)
    sites: tuple[tuple[str, Role], ...] = flax.struct.field(pytree_node=False)
    roles: frozenset[Role] = flax.struct.field(pytree_node=False)

    def weight(
        self,
        site: str,
        w: Float[Array, "K M"],
        x: Value | None = None,
        bias: Float[Array, "M"] | None = None,
    ) -> Array:
        """Returns the kernel, rounded if its role is chosen; the bias stays real."""
        return self._rounded(site, w)

    def lookup(self, table: Num[Array, "V E"], rows: Int[Array, "*S"]) -> Array:
        """Returns the rows unchanged: the layer that reads them stores them."""
        return table[rows]

    def store(self, site: str, x: Value) -> Array:
        """Returns the value, rounded if its role is chosen."""
        return self._rounded(site, dequantize(x))

    def input(self, site: str, x: Value) -> Array:
        """Stores the value: the output of every layer is real."""
        return self.store(site, x)

    def values(self, x: Array) -> Array:
        """Returns the value unchanged."""
        return x

    def load(self, site: str, values: Array) -> Array:
        """Returns the array unchanged."""
        return values

    def accumulate(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        """Multiplies matrices in floating point."""
        return FloatOperators().accumulate(x, w, bias)

    def add(self, a: Array, b: Array, out: str) -> Array:
        """Stores the real sum."""
        return self.store(out, a + b)

    def align(self, site: str, values: Array, addends: Addends, out: str) -> Array:
        """Returns the addend unchanged."""
        return values

    def add_aligned(self, a: Array, b: Array, addends: Addends, out: str) -> Array:
        """Stores the real sum."""
        return self.add(a, b, out)

    def mul(self, a: Array, b: Array, out: str) -> Array:
        """Stores the real product."""
        return self.store(out, a * b)

    def sigmoid(self, x: Array, out: str) -> Array:
        """Stores the real logistic function."""
        return self.store(out, smooth_units.sigmoid(x))

    def tanh(self, x: Array, out: str) -> Array:
        """Stores the real hyperbolic tangent."""
        return self.store(out, smooth_units.tanh(x))

    def layer_norm(self, x: Array, out: str) -> Array:
        """Stores the real normalization over the last axis."""
        return self.store(out, smooth_units.layer_norm(x))

    def _rounded(self, site: str, x: Array) -> Array:
        role = dict(self.sites)[site]
        if role not in self.roles:
            return x
        tensor = self.spec.tensor(role)
        scale: Scale
        if role.is_kernel:
            scale = by_column(weight_scale(tensor, x, role.blocks), x.shape[1])
        else:
            scale = self.scales[site] if tensor.calibrated else tensor.format.scale
        smallest, largest = tensor.format.minimum, tensor.format.maximum
        return quantize_straight_through(x, scale, smallest, largest) * scale


@dataclass(frozen=True)
class GridOnly:
    """Floating point, with the tensors of some roles rounded to a chip's formats.

    Attributes:
      spec: the chip.
      roles: the roles that are rounded.
    """

    spec: AcceleratorSpec
    roles: frozenset[Role]

    def holds(self, role: Role) -> bool:
        """Returns whether the role is not rounded or the chip has a format for it."""
        return role not in self.roles or self.spec.holds(role)

    def calibrated_roles(self) -> frozenset[Role]:
        """Returns the rounded roles with a calibrated scale."""
        return OnAccelerator(self.spec).calibrated_roles() & self.roles

    def operators(self, sites: Sites, max_abs: Mapping[str, Float[Array, ""]]) -> GridOperators:
        """Returns operators bound to the calibrated ranges."""
        scales = {
            site: range_to_scale(self.spec.tensor(sites[site]), max_abs[site]) for site in max_abs
        }
        return GridOperators(
            scales=scales, spec=self.spec, sites=tuple(sites.items()), roles=self.roles
        )

    def on_chip(self) -> frozenset[Operator]:
        """Returns the empty set: the arithmetic is floating point."""
        return frozenset()

    def tensor_format(self, role: Role) -> TensorFormat:
        """Returns the chip's format for rounded roles and float32 for others."""
        if role not in self.roles:
            return FLOAT32_FORMAT
        return OnAccelerator(self.spec).tensor_format(role)

    def bias_bits(self) -> int:
        """Returns 32, for float32."""
        return 32

    def state_dtype(self, role: Role) -> DTypeLike:
        """Returns float32."""
        return jnp.float32

    def for_serving(self) -> "GridOnly":
        """Returns this precision: it is for measurements, and no chip computes it."""
        return self
