"""An accelerator's operators inside training: its integers forward, a stated gradient backward.

Forward, every operator is the integer function of ``accelerators.kernels``, on integers that travel
as float32. Backward, rounding is straight through, a result that the chip saturates passes nothing,
sums and products have their own derivatives, and sigmoid and tanh take that of the smooth function
or of the curve that the chip's unit draws. The same class serves: with ``integer=True`` values are
int8, int16 and int32 arrays and there is no float but a calibrated scale.
"""

import enum
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp

from rnnt_qat.accelerators import kernels
from rnnt_qat.accelerators.kernels import Accumulated, Scale, Stored
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AcceleratorSpec, Operator
from rnnt_qat.fixedpoint import tabulate, wide
from rnnt_qat.fixedpoint.activation import Activation
from rnnt_qat.fixedpoint.int8_table import Int8Table
from rnnt_qat.fixedpoint.multiplier import exponent_of
from rnnt_qat.fixedpoint.qformat import QFormat, quantize
from rnnt_qat.fixedpoint.requantize import Sum
from rnnt_qat.fixedpoint.saturation import Overflow, int_range
from rnnt_qat.quant import exact_rescale, smooth_units
from rnnt_qat.quant.exact_product import product_int8, product_int16
from rnnt_qat.quant.operators import Addends, Value
from rnnt_qat.quant.qtensor import LOW_BITS, Addend, QTensor, dequantize
from rnnt_qat.quant.scales import bias_range, by_column, range_to_scale, weight_scale
from rnnt_qat.quant.straight_through import (
    quantize_straight_through,
    straight_through,
    where_inside,
)
from rnnt_qat.typing import Array, Bool, Float, Int, Num

REQUANTIZE = "requantize"
"""Scope of what brings a result to a tensor's format: the end of every operator."""
QUANTIZE = "quantize"
"""Scope of what brings reals there: parameters, features, what another layer computed on a CPU."""


class Slope(enum.Enum):
    """Gradient of a sigmoid or tanh unit."""

    SMOOTH = "smooth"
    """Of the exact function, from the unit's output: y (1 - y), 1 - y^2."""
    UNIT = "unit"
    """Of the curve that the unit draws: the slope of the table's segment."""


@flax.struct.dataclass
class NnaOperators:
    """Operators of one layer on a chip.

    Attributes:
      scales: real value of one step of each calibrated site (and, frozen or learned, of kernels).
      spec: the chip.
      sites: role of every site.
      slope: gradient of sigmoid and tanh.
      integer: serve: hold values as integers.
    """

    scales: dict[str, Float[Array, "..."]]
    spec: AcceleratorSpec = flax.struct.field(pytree_node=False)
    sites: tuple[tuple[str, Role], ...] = flax.struct.field(pytree_node=False)
    slope: Slope = flax.struct.field(pytree_node=False, default=Slope.SMOOTH)
    integer: bool = flax.struct.field(pytree_node=False, default=False)

    def weight(
        self,
        site: str,
        w: Num[Array, "K M"],
        x: QTensor | None = None,
        bias: Num[Array, "M"] | wide.Wide | None = None,
    ) -> QTensor:
        """Kernel on its grid; an integer array is a frozen kernel and stays as it is.

        Args:
          site: the kernel's.
          w: parameter.
          x: what it will be multiplied with, where a bias is added to the product.
          bias: the range is raised to what this needs (``quant.scales.bias_range``).
        """
        role, frozen = self._role(site), jnp.issubdtype(w.dtype, jnp.integer)
        tensor = self.spec.tensor(role)
        if site in self.scales:
            scale = self.scales[site]
        elif frozen:
            raise ValueError(f"the frozen kernel {site!r} came without its scale")
        else:
            scale = weight_scale(tensor, w, role.blocks)
        if not (frozen or x is None or bias is None or isinstance(bias, wide.Wide)):
            needed = bias_range(self.spec, role, x.scale, bias, w.shape[0])
            scale = jnp.maximum(scale, range_to_scale(tensor, needed))
        return self._quantize(w, by_column(scale, w.shape[1]), tensor.format)

    def lookup(self, table: Num[Array, "V E"], rows: Int[Array, "*S"]) -> Array:
        """The rows themselves: they are stored where they are read."""
        return table[rows]

    @jax.named_scope(REQUANTIZE)
    def store(self, site: str, x: Value) -> QTensor:
        """Quantizes reals, requantizes accumulators, moves stored tensors to the site's grid."""
        role, scale, format = self._role(site), self._scale(site), self._format(site)
        if not isinstance(x, QTensor):
            # Integers have no NaN: it is stored as 0, here as in serving and in the player.
            with jax.named_scope(QUANTIZE):
                x = jnp.where(jnp.isnan(x), 0, x)
            return self._quantize(x, scale, format)
        if x.format is None:
            result = self._rescale(self._accumulated(x), role, scale)
        elif format.frac_bits is not None and x.format == format:
            return x
        else:
            result = kernels.move(self.spec, _stored(x), scale)
        return self._emit(site, result, lambda: _total(x) * (x.scale / scale), x)

    def input(self, site: str, x: Value) -> QTensor:
        """Kept when it is on a chip's grid of the same width already, else stored."""
        held = x.format if isinstance(x, QTensor) else None
        if held is None:
            return self.store(site, dequantize(x))
        return x if held.bits == self._format(site).bits else self.store(site, x)

    def values(self, x: QTensor) -> Num[Array, "*S"]:
        """Integers of a stored tensor."""
        return x.values

    def load(self, site: str, values: Num[Array, "*S"]) -> QTensor:
        """Attaches the site's scale."""
        return QTensor(values, self._scale(site), format=self._format(site))

    @jax.named_scope(Operator.DOT.value)
    def accumulate(
        self, x: QTensor, w: QTensor, bias: Num[Array, "M"] | wide.Wide | None = None
    ) -> QTensor:
        """``x @ w + bias`` in the chip's accumulator; the bias is rounded to its grid."""
        kernels.require(self.spec, Operator.DOT)
        scale = kernels.accumulator_scale(x.scale, w.scale)
        quantized = None if bias is None else self._bias(bias, scale)
        if not self.integer:
            if self.spec.accumulator.bits > 32:
                product = product_int16(x.values, w.values, quantized)
            else:
                product = product_int8(x.values, w.values, quantized, self.spec.accumulator)
            return QTensor(product.values, scale, product.low, product.integers)
        sums, _ = kernels.accumulate(
            self.spec, Stored(x.values, x.scale), Stored(w.values, w.scale), quantized
        )
        if isinstance(sums, wide.Wide):
            upper = (sums.high << LOW_BITS) | (sums.low >> LOW_BITS).astype(jnp.int32)
            return QTensor(upper, scale, (sums.low & 0xFFFF).astype(jnp.int32))
        return QTensor(sums, scale)

    @jax.named_scope(Operator.ADD.value)
    def add(self, a: QTensor, b: QTensor, out: str) -> QTensor:
        """Sum; an accumulator is brought to the scale of ``out`` on the way."""
        if not self.spec.fused_gate_sum:
            a, b = (self.store(out, x) if x.format is None else x for x in (a, b))
        scale = self._scale(out)
        result = kernels.unbounded_sum(
            self.spec, self._operand(a), self._operand(b), self._role(out), scale
        )
        return self._emit(
            out, result, lambda: _total(a) * (a.scale / scale) + _total(b) * (b.scale / scale), a, b
        )

    def align(self, site: str, values: Float[Array, "*S"], addends: Addends, out: str) -> Addend:
        """A stored addend on the grid of the sum."""
        x, grid = self.load(site, values), self._sum_grid(addends, out)
        integers = kernels.on_sum_grid(self.spec, _stored(x), grid)
        return Addend(x.values * (x.scale / grid), integers)

    @jax.named_scope(Operator.ADD.value)
    def add_aligned(self, a: Addend, b: Addend, addends: Addends, out: str) -> QTensor:
        """The rest of ``add``."""
        grid, scale = self._sum_grid(addends, out), self._scale(out)
        total = Stored(a.integers + b.integers, grid)
        result = kernels.from_sum_grid(self.spec, total, scale)
        return self._emit(out, result, lambda: (a.values + b.values) * (grid / scale))

    @jax.named_scope(Operator.MUL.value)
    def mul(self, a: QTensor, b: QTensor, out: str) -> QTensor:
        """Product."""
        scale = self._scale(out)
        result = kernels.unbounded_product(
            self.spec, _stored(a), _stored(b), self._role(out), scale
        )
        return self._emit(
            out, result, lambda: a.values * b.values * (a.scale * b.scale / scale), a, b
        )

    @jax.named_scope(Operator.SIGMOID.value)
    def sigmoid(self, x: QTensor, out: str) -> QTensor:
        """The chip's logistic unit."""
        unit = kernels.unit(self.spec, self._role(out), Operator.SIGMOID)
        return self._activate(unit, x, out, lambda y: y * (1 - y))

    @jax.named_scope(Operator.TANH.value)
    def tanh(self, x: QTensor, out: str) -> QTensor:
        """The chip's tanh unit."""
        unit = kernels.unit(self.spec, self._role(out), Operator.TANH)
        return self._activate(unit, x, out, lambda y: 1 - y * y)

    @jax.named_scope(Operator.LAYER_NORM.value)
    def layer_norm(self, x: QTensor, out: str) -> QTensor:
        """The chip's integer normalization; its gradient is the real one's."""
        if x.format is None:
            raise ValueError(f"the norm that writes {out!r} reads stored tensors, not accumulators")
        scale = self._scale(out)
        result = kernels.unbounded_norm(
            self.spec, _integers(x), x.format.bits, self._role(out), scale
        )
        return self._emit(out, result, lambda: smooth_units.layer_norm(x.values) / scale, x)

    def _activate(
        self, unit: Activation, x: QTensor, out: str, derivative: Callable[[Array], Array]
    ) -> QTensor:
        format, scale = self._format(out), self._scale(out)
        if x.format is None:
            raise ValueError(f"the unit that writes {out!r} reads stored tensors, not accumulators")
        integers, tabulated = _integers(x), x.format.frac_bits is not None
        if tabulated:
            result = tabulate.look_up(tabulate.values(unit, x.format), integers, x.format)
        elif isinstance(unit, Int8Table) and not self.integer and jax.default_backend() == "cpu":
            result = unit.computed(integers, -exponent_of(x.scale))
        else:
            result = unit(integers, -exponent_of(x.scale))
        if self.integer:
            return QTensor(result.astype(format.storage), scale, format=format)
        values = result.astype(jnp.float32)
        if self.slope is Slope.SMOOTH:
            slope = derivative(values * scale)
        elif tabulated:
            slope = tabulate.look_up(tabulate.slopes(unit, x.format), integers, x.format)
        else:
            slope = unit.slope(integers, -exponent_of(x.scale))
        surrogate = jax.lax.stop_gradient(slope) * (x.values * (x.scale / scale))
        return QTensor(straight_through(values, surrogate), scale, format=format)

    def _emit(
        self,
        site: str,
        result: Int[Array, "*S"],
        surrogate: Callable[[], Float[Array, "*S"]],
        *operands: QTensor,
    ) -> QTensor:
        """Brings a result into range; its gradient is the surrogate's, none where it saturated."""
        role, format, scale = self._role(site), self._format(site), self._scale(site)
        integers = kernels.into_range(self.spec, result, role)
        if self.integer:
            return QTensor(integers.astype(format.storage), scale, format=format)
        inside = jnp.bool_(True)
        if self.spec.overflow is Overflow.SATURATE:
            inside = integers == result
        for operand in operands:
            inside = inside & self._accumulator_held(operand)
        values = straight_through(integers.astype(jnp.float32), where_inside(inside, surrogate()))
        return QTensor(values, scale, integers=integers, format=format)

    def _rescale(self, x: Accumulated, role: Role, scale: Scale) -> Int[Array, "*S"]:
        """An accumulator at the scale of the result, not yet in its range."""
        operator = self.spec.tensor(role).rescale
        if self.integer or isinstance(x.integers, wide.Wide) or operator is None:
            return kernels.rescale(self.spec, x, role, scale)
        return exact_rescale.rescale(
            operator,
            x.integers,
            kernels.scale_ratio(x.scale, scale),
            self.spec.tensor(role).format.bits,
        )

    def _accumulator_held(self, x: QTensor) -> Bool[Array, "..."]:
        """Whether a sum stayed within an accumulator narrower than 32 bits."""
        accumulator = self.spec.accumulator
        saturates = accumulator.overflow is Overflow.SATURATE and accumulator.bits < 32
        if x.format is not None or not saturates:
            return jnp.bool_(True)
        smallest, largest = int_range(accumulator.bits)
        total = _total(x)
        return (total > smallest) & (total < largest)

    @jax.named_scope(QUANTIZE)
    def _quantize(self, x: Num[Array, "*S"], scale: Scale, format: QFormat) -> QTensor:
        """Reals on the grid of a format; integers are frozen and stay."""
        if not jnp.issubdtype(x.dtype, jnp.integer):
            if self.integer:
                x = quantize(x, scale, format).astype(format.storage)
            else:
                x = quantize_straight_through(x, scale, format.minimum, format.maximum)
        return QTensor(x, scale, format=format)

    def _bias(self, bias: Num[Array, "M"] | wide.Wide, scale: Scale) -> Sum:
        """A bias at the accumulator's scale; frozen it is there, ``Wide`` past 32 bits."""
        if isinstance(bias, wide.Wide) or jnp.issubdtype(bias.dtype, jnp.integer):
            return bias
        # The largest float32 below the bound, which float32 does not hold.
        largest = 2.0 ** (self.spec.bias_bits - 1) * (1 - 2.0**-24)
        integers = quantize_straight_through(bias, scale, -largest, largest)
        if not self.integer:
            return integers
        if self.spec.accumulator.bits <= 32:
            return integers.astype(jnp.int32)
        upper = jnp.floor(integers / 2**LOW_BITS)
        lower = integers - upper * 2**LOW_BITS
        return wide.from_limbs(upper.astype(jnp.int32), lower.astype(jnp.int32))

    def _sum_grid(self, addends: Addends, out: str) -> Scale:
        scales = [self._scale(site) for site in addends]
        return kernels.sum_grid(self.spec, scales, self._role(out), self._scale(out))

    def _operand(self, x: QTensor) -> Stored | Accumulated:
        """A tensor as the kernels take it."""
        return self._accumulated(x) if x.format is None else _stored(x)

    def _accumulated(self, x: QTensor) -> Accumulated:
        if x.integers is not None:
            return Accumulated(x.integers, x.scale)
        if x.low is None:
            return Accumulated(x.values.astype(jnp.int32), x.scale)
        values = x.values if self.integer else x.values * 2.0**-LOW_BITS
        high, low = values.astype(jnp.int32), x.low.astype(jnp.int32)
        if self.spec.accumulator.bits > 32:
            return Accumulated(wide.from_limbs(high, low), x.scale)
        return Accumulated((high << LOW_BITS) + low, x.scale)

    def _role(self, site: str) -> Role:
        return dict(self.sites)[site]

    def _format(self, site: str) -> QFormat:
        return self.spec.tensor(self._role(site)).format

    def _scale(self, site: str) -> Scale:
        format = self._format(site)
        return self.scales[site] if format.frac_bits is None else format.scale


def _stored(x: QTensor) -> Stored:
    return Stored(_integers(x), x.scale)


def _integers(x: QTensor) -> Int[Array, "*S"]:
    return x.values.astype(jnp.int32) if x.integers is None else x.integers


def _total(x: QTensor) -> Float[Array, "*S"]:
    """The integer as float32, rounded where it is long; its gradient goes to ``values``."""
    return x.values if x.low is None else x.values + jax.lax.stop_gradient(x.low)
