"""The operator interface: layers compute with an operator set and never mention bit widths.

An ``OperatorSet`` is a pytree whose leaves are the ranges in force, so a scan can close over it and
it can be differentiated and passed through a custom VJP. Operators exchange ``Value`` objects:
plain arrays under ``FloatOperators``, ``QTensor`` under the operators of a chip. Layers do not
inspect them and reshape or slice them with ``quant.qtensor.map_values``. Scan carries, streaming
states and the arrays at the boundary of the model are bare ``values`` (integers on a chip);
``load`` turns them into a ``Value`` again.

A *site* is a named tensor of the layer ("input", "gate_pre", "cell", ...). The layer declares the
role of each site, and the precision of the layer assigns a format to that role.
"""

from typing import Any, Protocol, runtime_checkable

import flax.struct

from rnnt_qat.quant import smooth_units
from rnnt_qat.quant.matmul import matmul
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.typing import Array, Float, Int, Num, PyTree

Value = Any
"""``Array`` or ``QTensor``, depending on the operator set; layers do not need to know which."""
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
        """Returns a kernel in the chip's format; to be called once per step, outside any scan.

        Args:
          site: site of the kernel.
          w: values of the kernel.
          x: the value it is multiplied by; needed if a bias is added to the product.
          bias: the bias. It is stored at the scale of the product, so it bounds that scale from
            below: the bias must fit the chip's bias width.
        """

    def lookup(self, table: Num[Array, "V E"], rows: Int[Array, "*S"]) -> Value:
        """Returns rows of a table; real values that the reading layer stores with ``input``.

        A frozen table already holds integers in the format of the reading layer.

        Args:
          table: the parameter.
          rows: indices of the rows.
        """

    def store(self, site: str, x: Value) -> Value:
        """Converts a value or an accumulator to the format of ``site``."""

    def input(self, site: str, x: Value) -> Value:
        """Returns the output of another layer, stored at ``site`` unless it has a chip's format."""

    def values(self, x: Value) -> Num[Array, "*S"]:
        """Returns the bare array of a stored value, for a scan carry or a streaming state."""

    def load(self, site: str, values: Num[Array, "*S"]) -> Value:
        """Inverse of ``values`` for a value stored at ``site``."""

    def accumulate(self, x: Value, w: Value, bias: Float[Array, "M"] | None = None) -> Value:
        """Multiplies matrices in the accumulator; linear in each argument.

        Args:
          x: left operand ``[..., K]``.
          w: right operand ``[K, M]``, from ``weight``.
          bias: added to the product.

        Returns:
          The accumulator ``[..., M]``.
        """

    def add(self, a: Value, b: Value, out: str) -> Value:
        """Returns the sum of two values, stored at ``out``."""

    def align(self, site: str, values: Num[Array, "*S"], addends: Addends, out: str) -> PyTree:
        """Computes the part of ``add`` that depends on one addend only.

        The transducer loss adds every frame to every label, so this part runs once per frame and
        once per label instead of once per pair.

        Args:
          site: one of ``addends``.
          values: bare array of a value stored at ``site``.
          addends: sites of both addends.
          out: site of the sum.

        Returns:
          A pytree of arrays of the shape of ``values``, for ``add_aligned``.
        """

    def add_aligned(self, a: PyTree, b: PyTree, addends: Addends, out: str) -> Value:
        """Completes ``add`` for two aligned addends.

        Args:
          a: result of ``align`` for the first addend.
          b: result of ``align`` for the second; the shapes broadcast.
          addends: sites of both addends.
          out: site of the sum.
        """

    def mul(self, a: Value, b: Value, out: str) -> Value:
        """Returns the product of two values, stored at ``out``."""

    def sigmoid(self, x: Value, out: str) -> Value:
        """Returns the logistic function of ``x``, stored at ``out``."""

    def tanh(self, x: Value, out: str) -> Value:
        """Returns the hyperbolic tangent of ``x``, stored at ``out``."""

    def layer_norm(self, x: Value, out: str) -> Value:
        """Returns ``(x - mean) / deviation`` over the last axis, stored at ``out``."""


@flax.struct.dataclass
class FloatOperators:
    """Floating-point operators in the dtype of their inputs."""

    def weight(
        self,
        site: str,
        w: Float[Array, "K M"],
        x: Value | None = None,
        bias: Float[Array, "M"] | None = None,
    ) -> Array:
        """Returns the kernel unchanged."""
        return w

    def lookup(self, table: Num[Array, "V E"], rows: Int[Array, "*S"]) -> Array:
        """Returns the rows unchanged."""
        return table[rows]

    def store(self, site: str, x: Value) -> Array:
        """Returns the real value."""
        return dequantize(x)

    def input(self, site: str, x: Value) -> Array:
        """Returns the real value."""
        return dequantize(x)

    def values(self, x: Value) -> Array:
        """Returns the value unchanged."""
        return x

    def load(self, site: str, values: Array) -> Array:
        """Returns the array unchanged."""
        return values

    def accumulate(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        """Multiplies matrices with a float32 accumulator."""
        product = matmul(x, w.astype(x.dtype))
        return (product if bias is None else product + bias).astype(x.dtype)

    def add(self, a: Array, b: Array, out: str) -> Array:
        """Returns ``a + b``."""
        return a + b

    def align(self, site: str, values: Array, addends: Addends, out: str) -> Array:
        """Returns the addend unchanged."""
        return values

    def add_aligned(self, a: Array, b: Array, addends: Addends, out: str) -> Array:
        """Returns ``a + b``."""
        return self.add(a, b, out)

    def mul(self, a: Array, b: Array, out: str) -> Array:
        """Returns ``a * b``."""
        return a * b

    def sigmoid(self, x: Array, out: str) -> Array:
        """Returns the logistic function of ``x``."""
        return smooth_units.sigmoid(x)

    def tanh(self, x: Array, out: str) -> Array:
        """Returns the hyperbolic tangent of ``x``."""
        return smooth_units.tanh(x)

    def layer_norm(self, x: Array, out: str) -> Array:
        """Returns ``x`` normalized over the last axis, computed in float32."""
        return smooth_units.layer_norm(x)
