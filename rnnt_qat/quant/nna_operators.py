"""The operators of an accelerator in training: its integers forward, a surrogate gradient backward.

Forward, every operator is the integer function of ``accelerators.kernels``, applied to integers
held as float32. Backward, rounding is straight-through, saturated results have zero gradient, sums
and products have their own derivatives, and sigmoid and tanh have the derivative of the smooth
function or of the curve that the chip's unit computes. The same class serves models: with
``integer=True`` values are int8, int16 and int32 arrays, and only the calibrated scales are floats.
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
from rnnt_qat.fixedpoint.piecewise import PiecewiseLinear
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
"""Name scope of the conversion of a result to a tensor's format: the end of every operator."""
QUANTIZE = "quantize"
"""Name scope of the conversion of real values: parameters, features and results of the CPU."""


class Slope(enum.Enum):
    """Gradient of a sigmoid or tanh unit."""

    SMOOTH = "smooth"
    """Derivative of the exact function at the unit's output: y (1 - y) or 1 - y^2."""
    UNIT = "unit"
    """Derivative of the curve that the unit computes: the slope of the table's segment."""


@flax.struct.dataclass
class NnaOperators:
    """Operators of one layer on a chip.

    Attributes:
      scales: real value of one step for each calibrated site and, if frozen or trained, each
        kernel.
      spec: the chip.
      sites: the role of every site.
      slope: gradient of sigmoid and tanh.
      integer: whether values are integer arrays, for serving.
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
        """Returns the quantized kernel; an integer array is a frozen kernel and stays unchanged.

        Args:
          site: site of the kernel.
          w: values of the kernel.
          x: the value it is multiplied by; needed if a bias is added to the product.
          bias: raises the kernel's range so that the bias fits the chip
            (``quant.scales.bias_range``).
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
        """Returns the rows unchanged: the layer that reads them stores them."""
        return table[rows]

    @jax.named_scope(REQUANTIZE)
    def store(self, site: str, x: Value) -> QTensor:
        """Quantizes real values, requantizes accumulators and rescales stored tensors."""
        role, scale, qformat = self._role(site), self._scale(site), self._format(site)
        if not isinstance(x, QTensor):
            # Integers have no NaN. NaN is stored as 0, as it is in serving and in the player.
            with jax.named_scope(QUANTIZE):
                x = jnp.where(jnp.isnan(x), 0, x)
            return self._quantize(x, scale, qformat)
        if x.format is None:
            result = self._rescale(x, role, scale)
        elif qformat.frac_bits is not None and x.format == qformat:
            return x
        else:
            result = kernels.move(self.spec, _stored(x), scale)
        return self._emit(site, result, lambda: _total(x) * (x.scale / scale), x)

    def input(self, site: str, x: Value) -> QTensor:
        """Keeps a value that has a chip format of the same width; stores any other at ``site``."""
        held = x.format if isinstance(x, QTensor) else None
        if held is None:
            return self.store(site, dequantize(x))
        return x if held.bits == self._format(site).bits else self.store(site, x)

    def values(self, x: QTensor) -> Num[Array, "*S"]:
        """Returns the integers of a stored tensor."""
        return x.values

    def load(self, site: str, values: Num[Array, "*S"]) -> QTensor:
        """Attaches the site's scale to the integers."""
        return QTensor(values, self._scale(site), format=self._format(site))

    @jax.named_scope(Operator.DOT.value)
    def accumulate(
        self, x: QTensor, w: QTensor, bias: Num[Array, "M"] | wide.Wide | None = None
    ) -> QTensor:
        """Computes ``x @ w + bias`` in the chip's accumulator; the bias is rounded to its grid."""
        kernels.require(self.spec, Operator.DOT)
        scale = kernels.accumulator_scale(self.spec, x.scale, w.scale)
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
        """Adds; an accumulator is rescaled to ``out`` as part of the sum."""
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
        """Converts a stored addend to the grid of the sum."""
        x, grid = self.load(site, values), self._sum_grid(addends, out)
        integers = kernels.on_sum_grid(self.spec, _stored(x), grid)
        return Addend(x.values * (x.scale / grid), integers)

    @jax.named_scope(Operator.ADD.value)
    def add_aligned(self, a: Addend, b: Addend, addends: Addends, out: str) -> QTensor:
        """Adds two aligned addends and stores the sum at ``out``."""
        grid, scale = self._sum_grid(addends, out), self._scale(out)
        total = Stored(a.integers + b.integers, grid)
        result = kernels.from_sum_grid(self.spec, total, scale)
        return self._emit(out, result, lambda: (a.values + b.values) * (grid / scale))

    @jax.named_scope(Operator.MUL.value)
    def mul(self, a: QTensor, b: QTensor, out: str) -> QTensor:
        """Multiplies and stores the product at ``out``."""
        scale = self._scale(out)
        result = kernels.unbounded_product(
            self.spec, _stored(a), _stored(b), self._role(out), scale
        )
        return self._emit(
            out, result, lambda: a.values * b.values * (a.scale * b.scale / scale), a, b
        )

    @jax.named_scope(Operator.SIGMOID.value)
    def sigmoid(self, x: QTensor, out: str) -> QTensor:
        """Applies the chip's logistic unit."""
        unit = kernels.unit(self.spec, self._role(out), Operator.SIGMOID)
        return self._activate(unit, x, out, lambda y: y * (1 - y))

    @jax.named_scope(Operator.TANH.value)
    def tanh(self, x: QTensor, out: str) -> QTensor:
        """Applies the chip's tanh unit."""
        unit = kernels.unit(self.spec, self._role(out), Operator.TANH)
        return self._activate(unit, x, out, lambda y: 1 - y * y)

    @jax.named_scope(Operator.LAYER_NORM.value)
    def layer_norm(self, x: QTensor, out: str) -> QTensor:
        """Computes the integer normalization of the chip; the gradient is that of the real one."""
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
        qformat, scale = self._format(out), self._scale(out)
        if x.format is None:
            raise ValueError(f"the unit that writes {out!r} reads stored tensors, not accumulators")
        integers, tabulated = _integers(x), x.format.frac_bits is not None
        if tabulated and self._computes(unit, out):
            result = unit(integers, x.format.fixed_frac_bits)
        elif tabulated:
            result = tabulate.look_up(tabulate.values(unit, x.format), integers, x.format)
        elif isinstance(unit, Int8Table) and not self.integer and jax.default_backend() == "cpu":
            result = unit.computed(integers, -exponent_of(x.scale))
        else:
            result = unit(integers, -exponent_of(x.scale))
        if self.integer:
            return QTensor(result.astype(qformat.storage), scale, format=qformat)
        values = result.astype(jnp.float32)
        if self.slope is Slope.SMOOTH:
            slope = derivative(values * scale)
        elif tabulated:
            slope = tabulate.look_up(tabulate.slopes(unit, x.format), integers, x.format)
        else:
            slope = unit.slope(integers, -exponent_of(x.scale))
        surrogate = jax.lax.stop_gradient(slope) * (x.values * (x.scale / scale))
        return QTensor(straight_through(values, surrogate), scale, format=qformat)

    def _computes(self, unit: Activation, out: str) -> bool:
        """Returns whether a unit is computed for each input instead of looked up.

        Lines are computed sooner where XLA does so once. That is the lattice, in training; in a
        recurrence it computes them again for every reader of the result.
        """
        on_lattice = self._role(out) is Role.JOINT_HIDDEN and not self.integer
        return on_lattice and isinstance(unit, PiecewiseLinear)

    def _emit(
        self,
        site: str,
        result: Int[Array, "*S"],
        surrogate: Callable[[], Float[Array, "*S"]],
        *operands: QTensor,
    ) -> QTensor:
        """Brings a result into the range of ``site`` and attaches the surrogate gradient.

        Args:
          site: site of the result.
          result: integers before saturation or wrapping.
          surrogate: computes the differentiable real result, in steps of the site.
          *operands: operands of the operator. The gradient is zero where one of them is a saturated
            accumulator.

        Returns:
          The stored tensor. Its gradient is zero where the chip saturated the result.
        """
        role, qformat, scale = self._role(site), self._format(site), self._scale(site)
        integers = kernels.into_range(self.spec, result, role)
        if self.integer:
            return QTensor(integers.astype(qformat.storage), scale, format=qformat)
        inside = jnp.bool_(True)
        if self.spec.overflow is Overflow.SATURATE:
            inside = integers == result
        for operand in operands:
            inside = inside & self._accumulator_held(operand)
        values = straight_through(integers.astype(jnp.float32), where_inside(inside, surrogate()))
        return QTensor(values, scale, integers=integers, format=qformat)

    def _rescale(self, x: QTensor, role: Role, scale: Scale) -> Int[Array, "*S"]:
        """Rescales an accumulator to the scale of the result, without limiting it to its range."""
        tensor, sums = self.spec.tensor(role), self._accumulated(x)
        if self.integer or tensor.rescale is None:
            return kernels.rescale(self.spec, sums, role, scale)
        ratio, bits = kernels.scale_ratio(x.scale, scale), tensor.format.bits
        if isinstance(sums.integers, wide.Wide):
            return exact_rescale.rescale_wide(tensor.rescale, *self._halves(x), ratio, bits)
        return exact_rescale.rescale(tensor.rescale, sums.integers, ratio, bits)

    def _accumulator_held(self, x: QTensor) -> Bool[Array, "..."]:
        """Returns where a sum stayed within an accumulator narrower than 32 bits."""
        accumulator = self.spec.accumulator
        saturates = accumulator.overflow is Overflow.SATURATE and accumulator.bits < 32
        if x.format is not None or not saturates:
            return jnp.bool_(True)
        smallest, largest = int_range(accumulator.bits)
        total = _total(x)
        return (total > smallest) & (total < largest)

    @jax.named_scope(QUANTIZE)
    def _quantize(self, x: Num[Array, "*S"], scale: Scale, qformat: QFormat) -> QTensor:
        """Quantizes real values; integers are frozen and stay unchanged."""
        if not jnp.issubdtype(x.dtype, jnp.integer):
            if self.integer:
                x = quantize(x, scale, qformat).astype(qformat.storage)
            else:
                x = quantize_straight_through(x, scale, qformat.minimum, qformat.maximum)
        return QTensor(x, scale, format=qformat)

    def _bias(self, bias: Num[Array, "M"] | wide.Wide, scale: Scale) -> Sum:
        """Returns a bias at the accumulator's scale, as ``Wide`` above 32 bits.

        Integer biases are frozen and are returned unchanged.
        """
        if isinstance(bias, wide.Wide) or jnp.issubdtype(bias.dtype, jnp.integer):
            return bias
        # The bound itself is not a float32; this is the largest float32 below it.
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
        """Converts a tensor to the type that the kernels take."""
        return self._accumulated(x) if x.format is None else _stored(x)

    def _accumulated(self, x: QTensor) -> Accumulated:
        if x.integers is not None:
            return Accumulated(x.integers, x.scale)
        if x.low is None:
            return Accumulated(x.values.astype(jnp.int32), x.scale)
        high, low = self._halves(x)
        if self.spec.accumulator.bits > 32:
            return Accumulated(wide.from_limbs(high, low), x.scale)
        return Accumulated((high << LOW_BITS) + low, x.scale)

    def _halves(self, x: QTensor) -> tuple[Int[Array, "*S"], Int[Array, "*S"]]:
        """Returns a sum as ``2^16 high + low``."""
        assert x.low is not None  # only such sums have two words
        values = x.values if self.integer else x.values * 2.0**-LOW_BITS
        return values.astype(jnp.int32), x.low.astype(jnp.int32)

    def _role(self, site: str) -> Role:
        return dict(self.sites)[site]

    def _format(self, site: str) -> QFormat:
        return self.spec.tensor(self._role(site)).format

    def _scale(self, site: str) -> Scale:
        qformat = self._format(site)
        return self.scales[site] if qformat.frac_bits is None else qformat.scale


def _stored(x: QTensor) -> Stored:
    return Stored(_integers(x), x.scale)


def _integers(x: QTensor) -> Int[Array, "*S"]:
    return x.values.astype(jnp.int32) if x.integers is None else x.integers


def _total(x: QTensor) -> Float[Array, "*S"]:
    """Returns the integer rounded to float32; its gradient goes to ``values``."""
    return x.values if x.low is None else x.values + jax.lax.stop_gradient(x.low)
