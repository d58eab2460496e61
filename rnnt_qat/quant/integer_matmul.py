"""Operators with integer matrix products and floating point between them."""

import flax.struct
import jax

from rnnt_qat.accelerators.spec import OPERANDS, Grain, Operator, TensorSpec
from rnnt_qat.fixedpoint.division import divide
from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.quant import smooth_units
from rnnt_qat.quant.aqt_engine import integer_matmul
from rnnt_qat.quant.exact_product import Accumulated, product_int16
from rnnt_qat.quant.operators import Addends, Value
from rnnt_qat.quant.qtensor import QTensor, dequantize
from rnnt_qat.quant.scales import weight_scale
from rnnt_qat.quant.sites import Role
from rnnt_qat.quant.straight_through import quantize_straight_through
from rnnt_qat.typing import Array, Float, Int, Num

MATMUL_OPERANDS = frozenset(OPERANDS)


@flax.struct.dataclass
class IntegerMatmulOperators:
    """Operators that quantize the operands of products and compute everything else in float32.

    Attributes:
      max_abs: calibrated range of each operand site.
      weight_bits: width of kernels, symmetric, one scale per output channel.
      activation_bits: width of operands, symmetric, one scale per tensor; above 8 bits, a product
        is computed as two products of 8-bit halves.
    """

    max_abs: dict[str, Float[Array, ""]]
    weight_bits: int = flax.struct.field(pytree_node=False)
    activation_bits: int = flax.struct.field(pytree_node=False)

    def weight(
        self,
        site: str,
        w: Float[Array, "K M"],
        x: Value | None = None,
        bias: Float[Array, "M"] | None = None,
    ) -> QTensor:
        """Returns the quantized kernel; its range has no gradient, and the bias stays real."""
        qformat = QFormat(self.weight_bits, narrow=True)
        tensor = TensorSpec(Role.WEIGHT, qformat, power_of_two=False, grain=Grain.CHANNEL)
        scale = weight_scale(tensor, w)
        return QTensor(quantize_straight_through(w, scale, qformat.minimum, qformat.maximum), scale)

    def lookup(self, table: Num[Array, "V E"], rows: Int[Array, "*S"]) -> Array:
        """Returns the rows unchanged: the layer that reads them stores them."""
        return table[rows]

    def store(self, site: str, x: Value) -> Value:
        """Quantizes operand sites; other sites stay real."""
        x = dequantize(x)
        if site not in self.max_abs:
            return x
        bound = 2 ** (self.activation_bits - 1) - 1
        scale = self._scale(site)
        return QTensor(quantize_straight_through(x, scale, -bound, bound), scale)

    def input(self, site: str, x: Value) -> Value:
        """Keeps a quantized value; stores any other."""
        return x if isinstance(x, QTensor) else self.store(site, x)

    def values(self, x: Value) -> Num[Array, "*S"]:
        """Returns the integers of an operand site, or the real values of another."""
        return x.values if isinstance(x, QTensor) else x

    def load(self, site: str, values: Num[Array, "*S"]) -> Value:
        """Attaches the scale of an operand site."""
        return QTensor(values, self._scale(site)) if site in self.max_abs else values

    def accumulate(self, x: QTensor, w: QTensor, bias: Array | None = None) -> Array:
        """Computes the integer product, converts it to real values and adds the bias."""
        with jax.named_scope(Operator.DOT.value):
            if self.activation_bits > 8:
                product = product_int16(x.values, w.values, None)
            else:
                product = Accumulated(integer_matmul(x.values, w.values))
        real = dequantize(QTensor(product.values, x.scale * w.scale, product.low))
        return real if bias is None else real + bias

    def add(self, a: Value, b: Value, out: str) -> Value:
        """Stores the real sum."""
        return self.store(out, dequantize(a) + dequantize(b))

    def align(self, site: str, values: Num[Array, "*S"], addends: Addends, out: str) -> Value:
        """Attaches the scale of an operand site."""
        return self.load(site, values)

    def add_aligned(self, a: Value, b: Value, addends: Addends, out: str) -> Value:
        """Stores the real sum."""
        return self.add(a, b, out)

    def mul(self, a: Value, b: Value, out: str) -> Value:
        """Stores the real product."""
        return self.store(out, dequantize(a) * dequantize(b))

    def sigmoid(self, x: Value, out: str) -> Value:
        """Stores the real logistic function."""
        return self.store(out, smooth_units.sigmoid(dequantize(x)))

    def tanh(self, x: Value, out: str) -> Value:
        """Stores the real hyperbolic tangent."""
        return self.store(out, smooth_units.tanh(dequantize(x)))

    def layer_norm(self, x: Value, out: str) -> Value:
        """Stores the real normalization over the last axis."""
        return self.store(out, smooth_units.layer_norm(dequantize(x)))

    def _scale(self, site: str) -> Float[Array, ""]:
        max_abs = jax.lax.stop_gradient(self.max_abs[site])
        return divide(max_abs, 2 ** (self.activation_bits - 1) - 1)
