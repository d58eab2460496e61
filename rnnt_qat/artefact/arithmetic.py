"""The operators that the player asks of a chip's arithmetic.

There are two families: ``runtime_arithmetic`` (LiteRT, TFLM and Arm's Ethos-U) and
``tosa_arithmetic``. Computations use int64, and results have the dtype of their format.
"""

from typing import Protocol

import numpy as np
from jaxtyping import Integer

from rnnt_qat.artefact.tensor_format import TensorFormat

Formats = tuple[TensorFormat, TensorFormat, TensorFormat]
"""Formats of both operands and of the result."""


class Arithmetic(Protocol):
    """Operators of a family of chips; frozen, and part of the artefact."""

    @property
    def wide_accumulator_bits(self) -> int:
        """Width of the accumulator of int16 inputs."""

    def dense(
        self,
        x: Integer[np.ndarray, "N K"],
        weights: Integer[np.ndarray, "M K"],
        bias: Integer[np.ndarray, "M"] | None,
        formats: Formats,
    ) -> Integer[np.ndarray, "N M"]:
        """Computes ``x W^T + b`` in the output's format.

        Args:
          x: inputs.
          weights: int8 weights.
          bias: at the scale of the product.
          formats: formats of input, weights and output.
        """

    def add(self, a: np.ndarray, b: np.ndarray, formats: Formats) -> np.ndarray:
        """Computes ``a + b``.

        Args:
          a: the first addend.
          b: the second addend.
          formats: formats of both addends and the sum.
        """

    def mul(self, a: np.ndarray, b: np.ndarray, formats: Formats) -> np.ndarray:
        """Computes ``a * b``.

        Args:
          a: the first factor.
          b: the second factor.
          formats: formats of both factors and the product.
        """

    def requantize(self, x: np.ndarray, source: TensorFormat, output: TensorFormat) -> np.ndarray:
        """Converts integers to another integer format.

        Args:
          x: the integers.
          source: their format.
          output: format of the result.
        """

    def logistic(self, x: np.ndarray, source: TensorFormat) -> np.ndarray:
        """Computes the sigmoid of int16, in Q0.15.

        Args:
          x: the integers.
          source: their format.
        """

    def tanh(self, x: np.ndarray, source: TensorFormat, output: TensorFormat) -> np.ndarray:
        """Computes tanh.

        Args:
          x: the integers.
          source: their format.
          output: format of the result.
        """
