"""Sigmoid and tanh of 8 bits: one entry for every input, as LiteRT's LOGISTIC and TANH."""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.qformat import Q0_7, QFormat
from rnnt_qat.typing import Array, Float, Int

_MIN_FRAC_BITS, _MAX_FRAC_BITS = -5, 17
"""Coarser inputs are 0 or saturate the function, finer ones are all 0 after it: as the ends."""


def int8_table(
    function: Function,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
) -> np.ndarray:
    """Outputs for the inputs -128 to 127, int8.

    Computed in float32 with ties away from zero, as LiteRT fills its table (kernels/internal/
    common.h, LUTPopulate). LOGISTIC asks for an output of scale 1/256 and zero point -128.
    """
    inputs = np.arange(-128, 128)
    reals = np.float32(input_scale) * (inputs - input_zero_point).astype(np.float32)
    scaled = function.exact(reals) * (np.float32(1) / np.float32(output_scale))
    rounded = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int32)
    return np.clip(rounded + output_zero_point, -128, 127).astype(np.int8)


@cache
def _tables(function: Function, output: QFormat) -> np.ndarray:
    """One table a number of fractional bits, from the smallest to the largest."""
    scale, bits = output.scale, range(_MIN_FRAC_BITS, _MAX_FRAC_BITS + 1)
    return np.stack([int8_table(function, 2.0**-n, 0, scale, 0) for n in bits]).astype(np.int32)


def _within(frac_bits: int | Int[Array, ""]) -> Int[Array, ""]:
    """The nearest number of fractional bits that has a table."""
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

    def check_input(self, input: QFormat) -> None:
        """Takes up to 8 bits."""
        if input.bits > 8:
            raise ValueError(f"a table of one entry an input takes up to 8 bits, not {input}")

    def __call__(self, x: Int[Array, "*S"], frac_bits: int | Int[Array, ""]) -> Int[Array, "*S"]:
        """Integers in ``output``, int32; ``frac_bits`` may be traced."""
        tables = jnp.asarray(_tables(self.function, self.output))
        return tables[_within(frac_bits) - _MIN_FRAC_BITS][x + 128]

    def computed(self, x: Int[Array, "*S"], frac_bits: int | Int[Array, ""]) -> Float[Array, "*S"]:
        """The same integers without a lookup, as float32.

        A CPU computes eight values of the function at a time, but looks them up one by one. They
        are rounded as the table's entries were, none of which lies as near to a tie as float32
        errs (tests/fixedpoint/test_units.py: every input of every table).
        """
        scale = jnp.ldexp(jnp.float32(1), -_within(frac_bits))
        function = jnp.tanh if self.function is Function.TANH else jax.nn.sigmoid
        scaled = function(x.astype(jnp.float32) * scale) * 2.0**self.output.fixed_frac_bits
        return jnp.clip(jnp.round(scaled), self.output.minimum, self.output.maximum)

    def slope(self, x: Int[Array, "*S"], frac_bits: int | Int[Array, ""]) -> Float[Array, "*S"]:
        """Half the rise from the entry below to the entry above, a step of input."""
        rise = self(jnp.minimum(x + 1, 127), frac_bits) - self(jnp.maximum(x - 1, -128), frac_bits)
        output_frac_bits = self.output.fixed_frac_bits
        steps = jnp.exp2(jnp.asarray(frac_bits, jnp.float32) - output_frac_bits - 1)
        return rise.astype(jnp.float32) * steps
