"""Sigmoid and tanh by a configurable table, with or without linear interpolation."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.qformat import Q0_15, QFormat
from rnnt_qat.fixedpoint.rounding import Rounding, rounding_shift_right
from rnnt_qat.typing import Array, Float, Int


@dataclass(frozen=True)
class InterpolatedTable:
    """A table over ``[0, 2^range_bits)``; uses symmetry below it and the last entry above it.

    Attributes:
      function: sigmoid or tanh.
      entries_bits: base-2 logarithm of the number of segments.
      range_bits: base-2 logarithm of the upper end of the table.
      output: fixed-point format of the output with range +-1 (the largest integer stands for 1).
      interpolate: whether to interpolate linearly between entries; otherwise the nearest entry is
        used, the upper one at a tie.
      rounding: rounding of the interpolated value.
    """

    function: Function
    entries_bits: int = 8
    range_bits: int = 3
    output: QFormat = Q0_15
    interpolate: bool = True
    rounding: Rounding = Rounding.AWAY

    def __post_init__(self):
        if not 1 <= self.entries_bits <= 12:
            raise ValueError(f"InterpolatedTable.entries_bits={self.entries_bits} not in 1..12")

    def check_input(self, input_format: QFormat) -> None:
        """Accepts fixed-point formats of up to 16 bits whose range the table covers."""
        if input_format.frac_bits is None or input_format.bits > 16:
            raise ValueError(f"the table takes a fixed format of up to 16 bits, not {input_format}")
        if self.range_bits < input_format.integer_bits:
            raise ValueError(f"the table ends at 2^{self.range_bits}, {input_format} goes further")
        if self._shift(input_format.frac_bits) + self.output.bits > 31:
            raise ValueError(f"interpolating {input_format} to {self.output} overflows 32 bits")

    def table(self) -> np.ndarray:
        """Computes the entries at the ends of all segments, in the format ``output``."""
        reals = self.function.exact(self._nodes())
        integers = np.floor(np.ldexp(reals, self.output.fixed_frac_bits) + 0.5)
        return np.minimum(integers, self.output.maximum).astype(np.int32)

    def __call__(self, x: Int[Array, "*S"], frac_bits: int) -> Int[Array, "*S"]:
        """Computes the output in the format ``output``, as int32."""
        index, part, shift = self._position(x, frac_bits)
        table = jnp.asarray(self.table())
        if self.interpolate:
            left, right = table[index], table[index + 1]
            value = (left << shift) + part * (right - left)
            positive = rounding_shift_right(value, shift, self.rounding)
        else:
            positive = table[self._nearest(index, part, shift)]
        return jnp.where(x >= 0, positive, self._mirrored(positive))

    def slope(self, x: Int[Array, "*S"], frac_bits: int) -> Float[Array, "*S"]:
        """Computes the slope of the segment or, without interpolation, at the nearest entry."""
        index, part, shift = self._position(x, frac_bits)
        inside = jnp.abs(x) < 1 << (self.range_bits + frac_bits)
        step = 2.0 ** (self.range_bits - self.entries_bits)
        if self.interpolate:
            table = jnp.asarray(self.table())
            rise = (table[index + 1] - table[index]).astype(jnp.float32)
            slopes = rise * (self.output.scale / step)
        else:
            y = self.function.exact(self._nodes())
            exact = y * (1 - y) if self.function is Function.SIGMOID else 1 - y * y
            slopes = jnp.asarray(exact, jnp.float32)[self._nearest(index, part, shift)]
        return jnp.where(inside, slopes, 0.0)

    def _shift(self, frac_bits: int) -> int:
        return self.range_bits + frac_bits - self.entries_bits

    def _nodes(self) -> np.ndarray:
        return np.arange(2.0**self.entries_bits + 1) * 2.0 ** (self.range_bits - self.entries_bits)

    def _nearest(self, index, part, shift):
        return index + (part >> max(shift - 1, 0))

    def _position(self, x, frac_bits):
        shift = self._shift(frac_bits)
        magnitude = jnp.minimum(jnp.abs(x), (1 << (self.range_bits + frac_bits)) - 1)
        if shift < 0:  # the input steps are coarser than the entries
            return magnitude << -shift, jnp.zeros_like(magnitude), 0
        return magnitude >> shift, magnitude & ((1 << shift) - 1), shift

    def _mirrored(self, positive):
        if self.function is Function.TANH:
            return -positive
        return (1 << self.output.fixed_frac_bits) - positive
