"""The seam: a layer asks an operator set for its arithmetic and never mentions bits.

An ``OperatorSet`` is a pytree (its leaves are the ranges in force), so it can be closed over by a
scan, differentiated and passed through a custom VJP. What flows between operators is a ``Value``:
a plain array under ``FloatOperators``, a ``QTensor`` under a chip's operators; layers never look
inside, they move it about with ``quant.qtensor.map_values``. Across a scan, a streaming state or
the model's boundary go the bare ``values`` (integers on a chip), re-attached with ``load``.

A *site* names a tensor of the layer ("input", "gate_pre", "cell", ...); the layer declares each
site's role, and the layer's precision gives that role a format.
"""

from typing import Any, Protocol, runtime_checkable

import flax.struct

from rnnt_qat.quant import smooth_units
from rnnt_qat.quant.matmul import matmul
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.typing import Array, Float, Int, Num, PyTree

Value = Any
"""``Array`` or ``QTensor``: each operator set knows which, and layers need not."""
Addends = tuple[str, str]
"""Sites of the two addends of a sum."""


@runtime_checkable
class OperatorSet(Protocol):
    """Operators of one layer, bound to the formats of its sites."""

    def weight(
        self,
        site: str,
        w: Float[Array, "K M"],
        x: Value | None = None,
        bias: Float[Array, "M"] | None = None,
    ) -> Value:
        """A parameter as the chip stores it; asked for once a step, outside any scan.

        Args:
          site: the parameter's.
          w: its values.
          x: what it will be multiplied with, where a bias is added to the product.
          bias: what is added: it is held at the products' scale, which must leave it integers.
        """

    def lookup(self, table: Num[Array, "V E"], rows: Int[Array, "*S"]) -> Value:
        """Rows of a parameter, real until the layer that takes them stores them (``input``).

        A frozen table holds them in that layer's format already.
        """

    def store(self, site: str, x: Value) -> Value:
        """A value or an accumulator brought into the format of ``site``."""

    def input(self, site: str, x: Value) -> Value:
        """What another layer produced: kept if it is in a chip's format already, else stored."""

    def values(self, x: Value) -> Num[Array, "*S"]:
        """The bare array of a stored value, to be carried by a scan or a streaming state."""

    def load(self, site: str, values: Num[Array, "*S"]) -> Value:
        """Inverse of ``values`` for what was stored at ``site``."""

    def accumulate(self, x: Value, w: Value, bias: Float[Array, "M"] | None = None) -> Value:
        """``[..., K] x [K, M] (+ [M])`` in the accumulator: linear in each argument."""

    def add(self, a: Value, b: Value, out: str) -> Value:
        """Sum, stored at ``out``."""

    def align(self, site: str, values: Num[Array, "*S"], addends: Addends, out: str) -> PyTree:
        """The share of ``add`` that is one addend's alone; arrays of its shape.

        Training adds every frame to every label: what can be done before is done once a frame.

        Args:
          site: one of ``addends``.
          values: bare array of what is stored there.
          addends: sites of both.
          out: where their sum will be stored.
        """

    def add_aligned(self, a: PyTree, b: PyTree, addends: Addends, out: str) -> Value:
        """The rest of ``add``, of what ``align`` returned; shapes broadcast."""

    def mul(self, a: Value, b: Value, out: str) -> Value:
        """Product, stored at ``out``."""

    def sigmoid(self, x: Value, out: str) -> Value:
        """Logistic function, stored at ``out``."""

    def tanh(self, x: Value, out: str) -> Value:
        """Hyperbolic tangent, stored at ``out``."""

    def layer_norm(self, x: Value, out: str) -> Value:
        """``(x - mean) / deviation`` over the last axis, stored at ``out``."""


@flax.struct.dataclass
class FloatOperators:
    """The plain operators, in the dtype of their inputs; the same layers, the same parameters."""

    def weight(
        self,
        site: str,
        w: Float[Array, "K M"],
        x: Value | None = None,
        bias: Float[Array, "M"] | None = None,
    ) -> Array:
        """The parameter itself."""
        return w

    def lookup(self, table: Num[Array, "V E"], rows: Int[Array, "*S"]) -> Array:
        """The rows themselves."""
        return table[rows]

    def store(self, site: str, x: Value) -> Array:
        """The value itself."""
        return dequantize(x)

    def input(self, site: str, x: Value) -> Array:
        """The real value."""
        return dequantize(x)

    def values(self, x: Value) -> Array:
        """The value itself."""
        return x

    def load(self, site: str, values: Array) -> Array:
        """The value itself."""
        return values

    def accumulate(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        """Matrix product with a float32 accumulator."""
        product = matmul(x, w.astype(x.dtype))
        return (product if bias is None else product + bias).astype(x.dtype)

    def add(self, a: Array, b: Array, out: str) -> Array:
        """``a + b``."""
        return a + b

    def align(self, site: str, values: Array, addends: Addends, out: str) -> Array:
        """The value itself."""
        return values

    def add_aligned(self, a: Array, b: Array, addends: Addends, out: str) -> Array:
        """As ``add``."""
        return self.add(a, b, out)

    def mul(self, a: Array, b: Array, out: str) -> Array:
        """``a * b``."""
        return a * b

    def sigmoid(self, x: Array, out: str) -> Array:
        """Logistic function."""
        return smooth_units.sigmoid(x)

    def tanh(self, x: Array, out: str) -> Array:
        """Hyperbolic tangent."""
        return smooth_units.tanh(x)

    def layer_norm(self, x: Array, out: str) -> Array:
        """Normalization over the last axis, in float32."""
        return smooth_units.layer_norm(x)
