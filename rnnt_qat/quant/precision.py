"""How a layer computes: the precisions that policies hand out.

A precision is frozen configuration. It says which sites need a calibrated range and makes the
operator set once the ranges are there. A new kind of arithmetic is one more class here or, for a
chip, in a file of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from rnnt_qat.quant.integer_matmul import MATMUL_OPERANDS, IntegerMatmulOperators
from rnnt_qat.quant.operators import FloatOperators, OperatorSet
from rnnt_qat.quant.sites import Role, Sites
from rnnt_qat.typing import Array, Float


class Precision(Protocol):
    """Arithmetic of one layer."""

    def calibrated_roles(self) -> frozenset[Role]:
        """Roles whose range must be calibrated."""

    def operators(self, sites: Sites, max_abs: Mapping[str, Float[Array, ""]]) -> OperatorSet:
        """Operators bound to the calibrated ranges, ``max_abs[site]`` > 0."""


@dataclass(frozen=True)
class Float32:
    """Plain floating point, in the dtype of the activations."""

    def calibrated_roles(self) -> frozenset[Role]:
        """None."""
        return frozenset()

    def operators(self, sites: Sites, max_abs: Mapping[str, Float[Array, ""]]) -> OperatorSet:
        """The plain operators."""
        return FloatOperators()


@dataclass(frozen=True)
class IntegerMatmul:
    """Integer matrix products, everything between them in floating point.

    What a quantization toolkit gives, and what a chip without the other operators leaves to its
    CPU: the baseline for a chip's full arithmetic.

    Attributes:
      weight_bits: 2 to 8, symmetric, one scale an output channel.
      activation_bits: 2 to 8, symmetric, one calibrated scale a tensor.
    """

    weight_bits: int = 8
    activation_bits: int = 8

    def __post_init__(self):
        """Refuses widths that an int8 product cannot hold."""
        for name in ("weight_bits", "activation_bits"):
            if not 2 <= getattr(self, name) <= 8:
                raise ValueError(
                    f"IntegerMatmul.{name}={getattr(self, name)}: an int8 product takes 2 to 8 bits"
                )

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
