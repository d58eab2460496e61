"""How a layer computes: the precisions that policies hand out.

A precision is frozen configuration. It says which sites need a calibrated range and makes the
operator set once the ranges are there. A new kind of arithmetic is one more class here or, for a
chip, in a file of its own.
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
    """How a tensor is held, for people.

    Attributes:
      bits: that a number takes in memory that is packed.
      numbers: of what kind they are.
      scale: where the real value of one step comes from; empty for floating point.
    """

    bits: int
    numbers: str
    scale: str = ""


FLOAT32_FORMAT = TensorFormat(32, "float32")


class Precision(Protocol):
    """Arithmetic of one layer."""

    def holds(self, role: Role) -> bool:
        """Whether there is a format for tensors of a role."""

    def calibrated_roles(self) -> frozenset[Role]:
        """Roles whose range must be calibrated."""

    def operators(self, sites: Sites, max_abs: Mapping[str, Float[Array, ""]]) -> OperatorSet:
        """Operators bound to the calibrated ranges, ``max_abs[site]`` > 0."""

    def on_chip(self) -> frozenset[Operator]:
        """Operators that the chip computes; the layer's others are left to its CPU."""

    def tensor_format(self, role: Role) -> TensorFormat:
        """How tensors of a role are held."""

    def bias_bits(self) -> int:
        """Width of a bias in memory."""

    def state_dtype(self, role: Role) -> DTypeLike:
        """In what a streaming state of that role is carried."""

    def for_serving(self) -> "Precision":
        """The same results from what the chip's memory holds, without gradients."""


@dataclass(frozen=True)
class Float32:
    """Plain floating point, in the dtype of the activations."""

    def holds(self, role: Role) -> bool:
        """Every role."""
        return True

    def calibrated_roles(self) -> frozenset[Role]:
        """None."""
        return frozenset()

    def operators(self, sites: Sites, max_abs: Mapping[str, Float[Array, ""]]) -> OperatorSet:
        """The plain operators."""
        return FloatOperators()

    def on_chip(self) -> frozenset[Operator]:
        """None."""
        return frozenset()

    def tensor_format(self, role: Role) -> TensorFormat:
        """float32."""
        return FLOAT32_FORMAT

    def bias_bits(self) -> int:
        """32: float32."""
        return 32

    def state_dtype(self, role: Role) -> DTypeLike:
        """float32."""
        return jnp.float32

    def for_serving(self) -> "Float32":
        """Itself."""
        return self


@dataclass(frozen=True)
class IntegerMatmul:
    """Integer matrix products, everything between them in floating point.

    What a quantization toolkit gives, and what a chip without the other operators leaves to its
    CPU: the baseline for a chip's full arithmetic.

    Attributes:
      weight_bits: 2 to 8, symmetric, one scale an output channel.
      activation_bits: 2 to 16, symmetric, one calibrated scale a tensor.
    """

    weight_bits: int = 8
    activation_bits: int = 8

    def __post_init__(self):
        """Refuses widths that products of int8 weights cannot have."""
        for name, most in (("weight_bits", 8), ("activation_bits", 16)):
            if not 2 <= getattr(self, name) <= most:
                raise ValueError(
                    f"IntegerMatmul.{name}={getattr(self, name)}: products take 2 to {most} bits"
                )

    def holds(self, role: Role) -> bool:
        """Every role."""
        return True

    def calibrated_roles(self) -> frozenset[Role]:
        """Operands of matrix products."""
        return MATMUL_OPERANDS

    def operators(self, sites: Sites, max_abs: Mapping[str, Float[Array, ""]]) -> OperatorSet:
        """Operators with integer products."""
        return IntegerMatmulOperators(
            max_abs=dict(max_abs),
            weight_bits=self.weight_bits,
            activation_bits=self.activation_bits,
        )

    def on_chip(self) -> frozenset[Operator]:
        """Matrix products."""
        return frozenset({Operator.DOT})

    def tensor_format(self, role: Role) -> TensorFormat:
        """Operands of products are integers, all else is float32."""
        if role.is_kernel:
            rule = "largest weight of each output channel"
            return TensorFormat(self.weight_bits, f"int{self.weight_bits}", rule)
        if role in MATMUL_OPERANDS:
            return TensorFormat(self.activation_bits, f"int{self.activation_bits}", "calibrated")
        return FLOAT32_FORMAT

    def bias_bits(self) -> int:
        """32: float32, added to the product's real value."""
        return 32

    def state_dtype(self, role: Role) -> DTypeLike:
        """float32, which carries the integers of operands too."""
        return jnp.float32

    def for_serving(self) -> "IntegerMatmul":
        """Itself: its products are integer already, and what is between them is not."""
        return self
