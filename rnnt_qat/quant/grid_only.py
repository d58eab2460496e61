"""A chip's formats without its arithmetic: what rounding some tensors costs by itself."""

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
    """Plain operators; a tensor of a chosen role is rounded to the chip's grid, and stays real.

    Attributes:
      scales: real value of one step of each calibrated site.
      spec: the chip.
      sites: role of every site.
      roles: those that are rounded.
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
        """Kernel, rounded or not. The bias stays real."""
        return self._rounded(site, w)

    def lookup(self, table: Num[Array, "V E"], rows: Int[Array, "*S"]) -> Array:
        """The rows themselves: they are stored where they are read."""
        return table[rows]

    def store(self, site: str, x: Value) -> Array:
        """Value, rounded or not."""
        return self._rounded(site, dequantize(x))

    def input(self, site: str, x: Value) -> Array:
        """The same: reals come from every layer."""
        return self.store(site, x)

    def values(self, x: Array) -> Array:
        """The value itself."""
        return x

    def load(self, site: str, values: Array) -> Array:
        """The value itself."""
        return values

    def accumulate(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        """Real matrix product."""
        return FloatOperators().accumulate(x, w, bias)

    def add(self, a: Array, b: Array, out: str) -> Array:
        """Real sum."""
        return self.store(out, a + b)

    def align(self, site: str, values: Array, addends: Addends, out: str) -> Array:
        """The value itself."""
        return values

    def add_aligned(self, a: Array, b: Array, addends: Addends, out: str) -> Array:
        """As ``add``."""
        return self.add(a, b, out)

    def mul(self, a: Array, b: Array, out: str) -> Array:
        """Real product."""
        return self.store(out, a * b)

    def sigmoid(self, x: Array, out: str) -> Array:
        """Real logistic function."""
        return self.store(out, smooth_units.sigmoid(x))

    def tanh(self, x: Array, out: str) -> Array:
        """Real hyperbolic tangent."""
        return self.store(out, smooth_units.tanh(x))

    def layer_norm(self, x: Array, out: str) -> Array:
        """Real normalization over the last axis."""
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
    """Floating point, but for the roles that are rounded to a chip's formats.

    Attributes:
      spec: the chip.
      roles: whose tensors are rounded.
    """

    spec: AcceleratorSpec
    roles: frozenset[Role]

    def holds(self, role: Role) -> bool:
        """What the chip holds, and what is not rounded."""
        return role not in self.roles or self.spec.holds(role)

    def calibrated_roles(self) -> frozenset[Role]:
        """Of the roles, those whose scale the chip leaves open."""
        return OnAccelerator(self.spec).calibrated_roles() & self.roles

    def operators(self, sites: Sites, max_abs: Mapping[str, Float[Array, ""]]) -> GridOperators:
        """Operators bound to the calibrated ranges."""
        scales = {
            site: range_to_scale(self.spec.tensor(sites[site]), max_abs[site]) for site in max_abs
        }
        return GridOperators(
            scales=scales, spec=self.spec, sites=tuple(sites.items()), roles=self.roles
        )

    def on_chip(self) -> frozenset[Operator]:
        """None: the arithmetic is real."""
        return frozenset()

    def tensor_format(self, role: Role) -> TensorFormat:
        """The chip's, of the roles."""
        if role not in self.roles:
            return FLOAT32_FORMAT
        return OnAccelerator(self.spec).tensor_format(role)

    def bias_bits(self) -> int:
        """32: float32."""
        return 32

    def state_dtype(self, role: Role) -> DTypeLike:
        """float32."""
        return jnp.float32

    def for_serving(self) -> "GridOnly":
        """Itself: it is for measuring, no chip computes so."""
        return self
