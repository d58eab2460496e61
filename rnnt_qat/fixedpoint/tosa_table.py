"""int16 TABLE of the Tensor Operator Set Architecture: 513 entries, 7 bits of interpolation.

The entries are those of Arm's TFLite-to-TOSA converter for LOGISTIC and TANH. The output of TABLE
has 7 fractional bits more than its entries; a RESCALE by 2^-7 with ties up follows.
"""

from dataclasses import dataclass
from functools import cache

import jax.numpy as jnp
import numpy as np

from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.qformat import Q0_15, QFormat
from rnnt_qat.fixedpoint.rounding import Rounding, rounding_shift_right
from rnnt_qat.typing import Array, Float, Int

SEGMENTS = 512
FRACTION_BITS = 7
_FIRST = -(2**15)


@cache
def tosa_table(function: Function, frac_bits: int) -> np.ndarray:
    """Computes the entries of a function over the int16 range, in Q0.15.

    The converter divides the distance from the smallest to the largest integer by 512, so entry i
    is computed at ``127.998 i`` but read by TABLE at ``128 i``. This error is part of the
    arithmetic to reproduce.

    The chord of a curved function errs to one side. Each entry is moved by half of the error at the
    midpoint of the segment to its right, which balances the interpolation error around zero.

    Args:
      function: sigmoid or tanh.
      frac_bits: fractional bits of the input.

    Returns:
      int32 ``[513]``.
    """

    def scaled(nodes: np.ndarray) -> np.ndarray:
        return function.exact(np.ldexp(nodes, -frac_bits)) * 2.0**15

    step = (2**16 - 1) / SEGMENTS
    nodes = _FIRST + step * np.arange(SEGMENTS + 1)
    entries = _round(scaled(nodes))
    middles = _round(scaled(nodes[:-1] + step / 2))
    chords = _round((scaled(nodes[1:]) + entries[:-1]) / 2)
    entries[:-1] -= _round((chords - middles) / 2)
    return np.clip(entries, Q0_15.minimum, Q0_15.maximum).astype(np.int32)


@dataclass(frozen=True)
class TosaTable:
    """Sigmoid or tanh unit of TABLE followed by RESCALE.

    Attributes:
      function: sigmoid or tanh.
    """

    function: Function

    @property
    def output(self) -> QFormat:
        """Q0.15."""
        return Q0_15

    def check_input(self, input_format: QFormat) -> None:
        """Accepts int16 with a fixed scale, for which the table is computed."""
        if input_format.bits != 16 or input_format.frac_bits is None:
            raise ValueError(
                f"TOSA's int16 TABLE takes 16 bits of a fixed scale, not {input_format}"
            )

    def __call__(self, x: Int[Array, "*S"], frac_bits: int) -> Int[Array, "*S"]:
        """Computes the output in Q0.15, as int32."""
        left, right, part = self._segment(x, frac_bits)
        slope = jnp.clip(right - left, Q0_15.minimum, Q0_15.maximum)
        value = (left << FRACTION_BITS) + slope * part
        rounded = rounding_shift_right(value, FRACTION_BITS, Rounding.UP)
        return jnp.clip(rounded, Q0_15.minimum, Q0_15.maximum)

    def slope(self, x: Int[Array, "*S"], frac_bits: int) -> Float[Array, "*S"]:
        """Computes the slope of the segment."""
        left, right, _ = self._segment(x, frac_bits)
        step = 2.0 ** (FRACTION_BITS - frac_bits)
        return (right - left).astype(jnp.float32) * (Q0_15.scale / step)

    def _segment(self, x, frac_bits):
        table = jnp.asarray(tosa_table(self.function, frac_bits))
        index = (x - _FIRST) >> FRACTION_BITS
        return table[index], table[index + 1], x & ((1 << FRACTION_BITS) - 1)


def _round(x: np.ndarray) -> np.ndarray:
    """Rounds to nearest, ties away from zero, as C's round()."""
    return np.trunc(x + np.copysign(0.5, x))
