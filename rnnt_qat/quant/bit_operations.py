"""Bit operations of a traced program: multiplications times the bits of both operands.

A multiplier of a w-bit weight and an a-bit activation needs about w * a one-bit adders, so the sum
of macs * w * a compares programs of different precisions (Fu et al., "FracTrain", 2020). Products
of layers have the bits of their precision; all others count as products of 32-bit numbers.
"""

import collections
import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import flax.struct
import jax
from jax.extend.core import jaxprs_in_params

from rnnt_qat.quant.integer_matmul import MATMUL_OPERANDS
from rnnt_qat.quant.operators import OperatorSet, Value
from rnnt_qat.quant.precision import FLOAT32_FORMAT, Precision
from rnnt_qat.quant.qtensor import QTensor
from rnnt_qat.quant.quantized_module import QuantizedModule
from rnnt_qat.quant.sites import Sites
from rnnt_qat.typing import Array, Num

FLOAT_BITS = FLOAT32_FORMAT.bits
_MARK = "counted_product_"


@dataclass(frozen=True)
class Product:
    """The matrix products of a layer whose operands have the same bits.

    Attributes:
      layer: module path; empty outside of layers.
      weight_bits: bits of a weight.
      activation_bits: bits of an activation.
    """

    layer: str
    weight_bits: int
    activation_bits: int

    @property
    def forward_bits(self) -> int:
        """Bit operations of one multiplication of the forward pass."""
        return self.weight_bits * self.activation_bits

    def training_bits(self, gradient_bits: int = FLOAT_BITS) -> int:
        """Returns the bit operations of a multiplication and of the two of its gradients.

        Args:
          gradient_bits: bits of the result's gradient, which is multiplied by the weight for one
            gradient and by the activation for the other.
        """
        return self.forward_bits + gradient_bits * (self.weight_bits + self.activation_bits)


MacCounts = collections.Counter[Product]
"""Number of multiplications by product."""


@dataclass(frozen=True, eq=False)
class _Marks:
    """Products and their numbers of multiplications, by the name of the function that has them."""

    found: dict[str, tuple[Product, int]] = field(default_factory=dict)


@flax.struct.dataclass
class _MarkedOperators:
    """A layer's operators whose products are calls of functions with numbered names."""

    plain: OperatorSet
    layer: str = flax.struct.field(pytree_node=False)
    bits: tuple[int, int] = flax.struct.field(pytree_node=False)
    marks: _Marks = flax.struct.field(pytree_node=False)

    def accumulate(self, x: Value, w: Value, bias: Num[Array, "M"] | None = None) -> Value:
        """Multiplies within a function whose name leads to the product and its size."""
        name = f"{_MARK}{len(self.marks.found)}"
        weight_bits, activation_bits = (
            value.format.bits if isinstance(value, QTensor) and value.format else bits
            for value, bits in zip((w, x), self.bits, strict=True)
        )
        x_shape, w_shape = (v.values.shape if isinstance(v, QTensor) else v.shape for v in (x, w))
        product = Product(self.layer, weight_bits, activation_bits)
        self.marks.found[name] = product, math.prod(x_shape) * w_shape[-1]

        def multiply(x: Value, w: Value, bias: Num[Array, "M"] | None) -> Value:
            return self.plain.accumulate(x, w, bias)

        multiply.__name__ = name
        return jax.jit(multiply)(x, w, bias)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


def count_products(program: Callable[..., Any], *arguments: Any) -> MacCounts:
    """Counts the multiplications of all matrix products of a program; nothing is computed.

    Args:
      program: function of arrays that applies a module.
      *arguments: its arguments, arrays or ``jax.ShapeDtypeStruct``.

    Raises:
      ValueError: if a loop of unknown length multiplies matrices.
    """
    with _marked() as marks:
        traced = jax.make_jaxpr(program)(*arguments)
    counts: MacCounts = collections.Counter()
    for product, macs in _products(traced.jaxpr, marks.found):
        counts[product] += macs
    return counts


@contextlib.contextmanager
def _marked() -> Iterator[_Marks]:
    """Marks the products of all layers that request their operators within the context."""
    marks = _Marks()

    def wrap(method: Any, arguments: tuple, options: dict, context: Any) -> Any:
        result, module = method(*arguments, **options), context.module
        if context.method_name != "operators" or not isinstance(module, QuantizedModule):
            return result
        bits = _usual_bits(module.policy.resolve(module.path), arguments[0])
        return _MarkedOperators(result, "/".join(module.path), bits, marks)

    with nn.intercept_methods(wrap):
        yield marks


def _usual_bits(precision: Precision, sites: Sites) -> tuple[int, int]:
    """Returns the bits of weights and activations whose values do not carry their format."""
    kernels = [precision.tensor_format(role).bits for role in sites.values() if role.is_kernel]
    operands = [
        precision.tensor_format(role).bits
        for role in sites.values()
        if role in MATMUL_OPERANDS and not role.is_kernel
    ]
    return max(kernels, default=FLOAT_BITS), max(operands, default=FLOAT_BITS)


def _products(jaxpr: Any, found: dict[str, tuple[Product, int]]) -> Iterator[tuple[Product, int]]:
    for equation in jaxpr.eqns:
        name, parts = equation.primitive.name, equation.params
        called = str(parts.get("name", ""))
        if called in found:
            yield found[called]
        elif name == "dot_general":
            yield Product("", FLOAT_BITS, FLOAT_BITS), _macs(equation)
        else:
            inner = [
                each for program in jaxprs_in_params(parts) for each in _products(program, found)
            ]
            if name == "while" and inner:
                raise ValueError(
                    f"a loop of unknown length multiplies matrices ({inner[0][0].layer or 'dot'}): "
                    "count a program without it, e.g. a scan"
                )
            if name == "cond" and inner:
                raise ValueError(
                    f"a branch multiplies matrices ({inner[0][0].layer or 'dot'}): its number of "
                    "multiplications depends on data"
                )
            turns = parts["length"] if name == "scan" else 1
            yield from ((product, turns * macs) for product, macs in inner)


def _macs(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)
