"""Precisions: the arithmetic that a policy assigns to a layer.

A precision is a frozen configuration. It states which sites need a calibrated range, and it builds
the operator set from the calibrated ranges. A new kind of arithmetic is one more class here or, for
a chip, in a file of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax.numpy as jnp

from rnnt_qat.accelerators.spec import Operator
from rnnt_qat.quant.integer_matmul import MATMUL_OPERANDS, IntegerMatmulOperators
from rnnt_qat.quant.operators import FloatOperators, OperatorSet
from rnnt_qat.quant.sites import Role, Sites
from rnnt_qat.typing import Array, DTypeLike, Float


class TensorFormat(NamedTuple):
    """Human-readable description of the format of a tensor.

    Attributes:
      bits: bits per number in packed memory.
      numbers: the number type.
      scale: source of the scale; empty for floating point.
    """

    bits: int
    numbers: str
    scale: str = ""


FLOAT32_FORMAT = TensorFormat(32, "float32")


class Precision(Protocol):
    """The arithmetic of one layer."""

    def holds(self, role: Role) -> bool:
        """Returns whether there is a format for tensors of a role."""

    def calibrated_roles(self) -> frozenset[Role]:
        """Returns the roles whose range must be calibrated."""

    def operators(self, sites: Sites, max_abs: Mapping[str, Float[Array, ""]]) -> OperatorSet:
        """Returns the operators of a layer.

        Args:
          sites: the layer's tensors by name, with their roles.
          max_abs: calibrated range by site, positive; holds the sites of ``calibrated_roles``.
        """

    def on_chip(self) -> frozenset[Operator]:
        """Returns the operators that the chip computes; the CPU computes the layer's others."""

    def tensor_format(self, role: Role) -> TensorFormat:
        """Returns the description of the format of a role."""

    def bias_bits(self) -> int:
        """Returns the width of a bias in memory, in bits."""

    def state_dtype(self, role: Role) -> DTypeLike:
        """Returns the dtype in which a streaming state of a role is carried."""

    def for_serving(self) -> "Precision":
        """Returns the precision that computes the same results from frozen integers."""


@dataclass(frozen=True)
class Float32:
    """Floating point in the dtype of the activations."""

    def holds(self, role: Role) -> bool:
        """Returns True: every role has a format."""
        return True

    def calibrated_roles(self) -> frozenset[Role]:
        """Returns the empty set."""
        return frozenset()

    def operators(self, sites: Sites, max_abs: Mapping[str, Float[Array, ""]]) -> OperatorSet:
        """Returns the floating-point operators."""
        return FloatOperators()

    def on_chip(self) -> frozenset[Operator]:
        """Returns the empty set."""
        return frozenset()

    def tensor_format(self, role: Role) -> TensorFormat:
        """Returns float32."""
        return FLOAT32_FORMAT

    def bias_bits(self) -> int:
        """Returns 32, for float32."""
        return 32

    def state_dtype(self, role: Role) -> DTypeLike:
        """Returns float32."""
        return jnp.float32

    def for_serving(self) -> "Float32":
        """Returns this precision."""
        return self


@dataclass(frozen=True)
class IntegerMatmul:
    """Integer matrix products; everything between them is in floating point.

    This is what a quantization toolkit trains, and what remains on a chip that leaves the other
    operators to its CPU: the baseline for a chip's full arithmetic.

    Attributes:
      weight_bits: 2 to 8, symmetric, one scale per output channel.
      activation_bits: 2 to 16, symmetric, one calibrated scale per tensor.
    """

    weight_bits: int = 8
    activation_bits: int = 8

    def __post_init__(self):
        """Rejects widths that products of int8 weights cannot have."""
        for name, most in (("weight_bits", 8), ("activation_bits", 16)):
            if not 2 <= getattr(self, name) <= most:
                raise ValueError(
                    f"IntegerMatmul.{name}={getattr(self, name)}: products take 2 to {most} bits"
                )

    def holds(self, role: Role) -> bool:
        """Returns True: every role has a format."""
        return True

    def calibrated_roles(self) -> frozenset[Role]:
        """Returns the roles of the operands of matrix products."""
        return MATMUL_OPERANDS

    def operators(self, sites: Sites, max_abs: Mapping[str, Float[Array, ""]]) -> OperatorSet:
        """Returns operators with integer matrix products."""
        return IntegerMatmulOperators(
            max_abs=dict(max_abs),
            weight_bits=self.weight_bits,
            activation_bits=self.activation_bits,
        )

    def on_chip(self) -> frozenset[Operator]:
        """Returns the matrix product."""
        return frozenset({Operator.DOT})

    def tensor_format(self, role: Role) -> TensorFormat:
        """Returns an integer format for operands of products and float32 for all other roles."""
        if role.is_kernel:
            rule = "largest weight of each output channel"
            return TensorFormat(self.weight_bits, f"int{self.weight_bits}", rule)
        if role in MATMUL_OPERANDS:
            return TensorFormat(self.activation_bits, f"int{self.activation_bits}", "calibrated")
        return FLOAT32_FORMAT

    def bias_bits(self) -> int:
        """Returns 32, for float32: the bias is added to the real value of the product."""
        return 32

    def state_dtype(self, role: Role) -> DTypeLike:
        """Returns float32, which also carries the integers of operands."""
        return jnp.float32

    def for_serving(self) -> "IntegerMatmul":
        """Returns this precision: its products are integer already, and the rest stays float32."""
        return self
