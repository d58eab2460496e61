"""8-bit sigmoid and tanh by a table with one entry per input, as LiteRT's LOGISTIC and TANH."""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.qformat import Q0_7, QFormat
from rnnt_qat.typing import Array, Float, Int

_MIN_FRAC_BITS, _MAX_FRAC_BITS = -5, 17
"""Range of fractional bits that have a table of their own; others use the nearest end.

Coarser inputs are 0 or saturate the function; for finer ones all outputs are those of 0.
"""


def int8_table(
    function: Function,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
) -> np.ndarray:
    """Computes the outputs for the inputs -128 to 127.

    The table is computed in float32 with ties away from zero, as in LiteRT (kernels/internal/
    common.h, LUTPopulate). LOGISTIC requires an output of scale 1/256 and zero point -128.

    Args:
      function: sigmoid or tanh.
      input_scale: real value of one input step.
      input_zero_point: input integer that stands for 0.
      output_scale: real value of one output step.
      output_zero_point: output integer that stands for 0.

    Returns:
      int8 ``[256]``.
    """
    inputs = np.arange(-128, 128)
    reals = np.float32(input_scale) * (inputs - input_zero_point).astype(np.float32)
    scaled = function.exact(reals) * (np.float32(1) / np.float32(output_scale))
    rounded = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int32)
    return np.clip(rounded + output_zero_point, -128, 127).astype(np.int8)


@cache
def _tables(function: Function, output: QFormat) -> np.ndarray:
    """Stacks the tables of all supported numbers of fractional bits, in ascending order."""
    scale, bits = output.scale, range(_MIN_FRAC_BITS, _MAX_FRAC_BITS + 1)
    return np.stack([int8_table(function, 2.0**-n, 0, scale, 0) for n in bits]).astype(np.int32)


def _within(frac_bits: int | Int[Array, ""]) -> Int[Array, ""]:
    """Clips to the range of fractional bits that have a table."""
    return jnp.clip(frac_bits, _MIN_FRAC_BITS, _MAX_FRAC_BITS)


@dataclass(frozen=True)
class Int8Table:
    """The int8 unit for power-of-two input scales and zero points of 0.

    Attributes:
      function: sigmoid or tanh.
      output: Q0.7 (tanh of LiteRT).
    """

    function: Function
    output: QFormat = Q0_7

    def check_input(self, input_format: QFormat) -> None:
        """Accepts up to 8 bits."""
        if input_format.bits > 8:
            raise ValueError(
                f"a table of one entry an input takes up to 8 bits, not {input_format}"
            )

    def __call__(self, x: Int[Array, "*S"], frac_bits: int | Int[Array, ""]) -> Int[Array, "*S"]:
        """Looks up the output as int32; ``frac_bits`` may be traced."""
        tables = jnp.asarray(_tables(self.function, self.output))
        return tables[_within(frac_bits) - _MIN_FRAC_BITS][x + 128]

    def computed(self, x: Int[Array, "*S"], frac_bits: int | Int[Array, ""]) -> Float[Array, "*S"]:
        """Computes the same integers without a lookup, as float32.

        A CPU vectorizes the function (eight values at a time) but not the lookup. The results equal
        the table because no entry is closer to a tie than the error of float32
        (tests/fixedpoint/test_units.py checks every input of every table).
        """
        scale = jnp.ldexp(jnp.float32(1), -_within(frac_bits))
        function = jnp.tanh if self.function is Function.TANH else jax.nn.sigmoid
        scaled = function(x.astype(jnp.float32) * scale) * 2.0**self.output.fixed_frac_bits
        return jnp.clip(jnp.round(scaled), self.output.minimum, self.output.maximum)

    def slope(self, x: Int[Array, "*S"], frac_bits: int | Int[Array, ""]) -> Float[Array, "*S"]:
        """Computes the central difference of the neighbouring entries, in real units."""
        rise = self(jnp.minimum(x + 1, 127), frac_bits) - self(jnp.maximum(x - 1, -128), frac_bits)
        output_frac_bits = self.output.fixed_frac_bits
        steps = jnp.exp2(jnp.asarray(frac_bits, jnp.float32) - output_frac_bits - 1)
        return rise.astype(jnp.float32) * steps
