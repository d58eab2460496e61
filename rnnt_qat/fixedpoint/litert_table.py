"""int16 LOGISTIC and TANH of LiteRT and TFLM: one table with linear interpolation.

The table holds sigmoid(i / 24) for i = 0 to 255 and covers [-10.67, 10.67]: its step is not a power
of two, so the input is first multiplied by 3. Negative inputs use sigmoid(-x) = 1 - sigmoid(x), and
tanh(x) = 2 sigmoid(2x) - 1 (LiteRT, reference/integer_ops/logistic.h and tanh.h).
"""

from dataclasses import dataclass
from functools import cache

import jax.numpy as jnp
import numpy as np

from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.qformat import Q0_15, QFormat
from rnnt_qat.fixedpoint.rounding import Rounding, rounding_shift_right
from rnnt_qat.typing import Array, Float, Int


@cache
def sigmoid_table() -> np.ndarray:
    """Computes the 256 entries, in Q0.16.

    The chord of a concave curve lies below it. Each entry is raised by half of the error of the
    chord to its right at the midpoint, which balances the interpolation error around zero. The last
    entry is the saturation value.
    """
    i = np.arange(256.0)
    sigmoid = Function.SIGMOID.exact
    left, middle, right = (sigmoid(x / 24) * 2**16 for x in (i, i + 0.5, i + 1))
    table = np.floor(left + (middle - (left + right) / 2) / 2 + 0.5)
    table[-1] = 2**16 - 1
    return table.astype(np.int32)


@dataclass(frozen=True)
class LitertTable:
    """LiteRT's int16 sigmoid or tanh unit.

    Attributes:
      function: sigmoid or tanh.
    """

    function: Function

    @property
    def output(self) -> QFormat:
        """Q0.15."""
        return Q0_15

    def check_input(self, input_format: QFormat) -> None:
        """Accepts up to 16 bits with a power-of-two scale."""
        if (
            input_format.bits > 16
            or input_format.frac_bits is None
            or not 0 <= input_format.frac_bits <= 28
        ):
            raise ValueError(f"the int16 table takes Qm.n of up to 16 bits, not {input_format}")

    def __call__(self, x: Int[Array, "*S"], frac_bits: int) -> Int[Array, "*S"]:
        """Computes the output in Q0.15, as int32."""
        magnitude, shift = self._position(x, frac_bits)
        index, part = magnitude >> shift, magnitude & ((1 << shift) - 1)
        left, right = self._entries(index)
        value = jnp.where(
            index >= 255, self._saturated() << shift, (left << shift) + part * (right - left)
        )
        # The value has 16 + shift fractional bits, the result 15: add half a step and truncate,
        # mirrored for negative inputs. tanh also doubles the value, which saves one bit of shift.
        if self.function is Function.SIGMOID:
            half = 1 << shift
            mirrored = jnp.where(x >= 0, value + half, (1 << (16 + shift)) - value + half - 1)
            return mirrored >> (shift + 1)
        half, middle = 1 << (shift - 1), 1 << (15 + shift)
        mirrored = jnp.where(x >= 0, value - middle + half, middle - value + half - 1)
        return mirrored >> shift

    def slope(self, x: Int[Array, "*S"], frac_bits: int) -> Float[Array, "*S"]:
        """Computes the slope of the segment; 0 past the end of the table."""
        magnitude, shift = self._position(x, frac_bits)
        index = magnitude >> shift
        left, right = self._entries(index)
        per_entry = jnp.where(index >= 255, 0, right - left).astype(jnp.float32)
        # Entries are 1/24 apart in the argument of sigmoid. tanh(x) = 2 sigmoid(2x) - 1 doubles
        # both the argument and the value, hence the factor of 4.
        factor = 24 if self.function is Function.SIGMOID else 24 * 4
        return per_entry * (factor * 2.0**-16)

    def _position(self, x, frac_bits):
        """Returns the magnitude in steps of 1/12288 and the number of bits within a segment."""
        stretched = 3 * x
        if frac_bits <= 12:
            stretched = stretched << (12 - frac_bits)
        else:
            stretched = rounding_shift_right(stretched, frac_bits - 12, Rounding.UP)
        return jnp.abs(stretched), 9 if self.function is Function.SIGMOID else 8

    def _entries(self, index):
        table = jnp.asarray(sigmoid_table())
        index = jnp.minimum(index, 254)
        return table[index], table[index + 1]

    def _saturated(self) -> int:
        return 2 * 32767 if self.function is Function.SIGMOID else 65535
