"""Operators that all arithmetics compute alike, but for the rounding of their rescaling."""

import abc

import numpy as np

from rnnt_qat.artefact.arithmetic import Formats
from rnnt_qat.artefact.rescaling import saturate
from rnnt_qat.artefact.tensor_format import TensorFormat

ADD_SHIFT = {np.dtype(np.int8): 20, np.dtype(np.int16): 15}
"""Left shift of ADD's operands, which keeps the bits that their rescaling would round off.

Source: LiteRT, reference/add.h.
"""


class RescaledOperators(abc.ABC):
    """ADD, MUL and the conversion of formats, by the arithmetic's ``rescale``."""

    @abc.abstractmethod
    def rescale(self, x: np.ndarray, ratio: float) -> np.ndarray:
        """Computes ``x * ratio``.

        Args:
          x: int32 values, as int64.
          ratio: positive real ratio.
        """

    def ratio(self, first: float, second: float, output: float) -> float:
        """Returns ``first * second / output``, the ratio of a product's scale to its format's."""
        return first * second / output

    def add(self, a: np.ndarray, b: np.ndarray, formats: Formats) -> np.ndarray:
        """Computes ADD: shifts the addends left, scales them to a common step, adds.

        Args:
          a: the first addend.
          b: the second addend.
          formats: formats of both addends and the sum.
        """
        first, second, output = formats
        shift = ADD_SHIFT[np.dtype(first.dtype)]
        step = 2 * max(first.scale, second.scale)
        total = np.zeros((), np.int64)
        for values, addend in ((a, first), (b, second)):
            shifted = (values.astype(np.int64) - addend.zero_point) << shift
            total = total + self.rescale(shifted, addend.scale / step)
        rescaled = self.rescale(total, step / (2.0**shift * output.scale))
        return saturate(rescaled + output.zero_point, output)

    def mul(self, a: np.ndarray, b: np.ndarray, formats: Formats) -> np.ndarray:
        """Computes MUL.

        Args:
          a: the first factor.
          b: the second factor.
          formats: formats of both factors and the product.
        """
        first, second, output = formats
        product = (a.astype(np.int64) - first.zero_point) * (b.astype(np.int64) - second.zero_point)
        ratio = self.ratio(first.scale, second.scale, output.scale)
        return saturate(self.rescale(product, ratio) + output.zero_point, output)

    def requantize(self, x: np.ndarray, source: TensorFormat, output: TensorFormat) -> np.ndarray:
        """Converts integers to another integer format (QUANTIZE).

        Args:
          x: the integers.
          source: their format.
          output: format of the result.
        """
        shifted = x.astype(np.int64) - source.zero_point
        rescaled = self.rescale(shifted, source.scale / output.scale)
        return saturate(rescaled + output.zero_point, output)
