"""Requantization of long accumulators without 64-bit products, as fast as training wants it.

A chip multiplies an accumulator by a significand and rounds the long product once. Here the product
is taken in float32, which decides all but what lies next to a tie; and there, where the distance to
the tie is known to be short, it is what is left of it in 32 bits. Both are shown equal to
``fixedpoint.requantize`` in tests/quant/test_exact_rescale.py.
"""

import jax
import jax.numpy as jnp

from rnnt_qat.fixedpoint.multiplier import multiplier_of
from rnnt_qat.fixedpoint.requantize import Ratio, Rescale, SingleRoundingRescale
from rnnt_qat.fixedpoint.rounding import Rounding
from rnnt_qat.typing import Array, Int

_SIGNIFICAND_BITS = 24
"""Of float32: a ratio of no more is the significand that the chip multiplies by."""


def rescale(operator: Rescale, x: Int[Array, "*S"], ratio: Ratio, bits: int) -> Int[Array, "*S"]:
    """``operator(x, ratio)`` of int32, equal wherever that fits ``bits``, and beyond on its side.

    Args:
      operator: the chip's.
      x: accumulators, int32.
      ratio: a Python float or float32.
      bits: width of the format that the result is saturated to, at most 16.
    """
    single = isinstance(operator, SingleRoundingRescale) and operator.bits == _SIGNIFICAND_BITS
    single = single and operator.rounding is not Rounding.TRUNCATE  # has no ties to look at
    # An accelerator multiplies integers as fast as floats, and waits for a condition.
    if not single or isinstance(ratio, float) or jax.default_backend() != "cpu":
        return operator(x, ratio)
    near = 2.0 ** (bits - 21)
    significand, exponent = multiplier_of(ratio, _SIGNIFICAND_BITS)
    places = _SIGNIFICAND_BITS - exponent
    held = (places >= 1) & (places <= 29 + 21 - bits)

    def by_float(x, ratio, significand, places):
        real = jnp.clip(x.astype(jnp.float32) * ratio, -(2.0**bits), 2.0**bits)
        floor = jnp.floor(real)
        below = floor.astype(jnp.int32)
        beyond_tie = real - floor - 0.5
        # From the tie, in the chip's product's own steps: 32 bits hold it wherever it is near.
        distance = x * significand - ((2 * below + 1) << (places - 1))
        if operator.rounding is Rounding.AWAY:
            on_tie = below >= 0
        elif operator.rounding is Rounding.UP:
            on_tie = jnp.bool_(True)
        else:
            on_tie = below & 1 == 1
        exact = (distance > 0) | ((distance == 0) & on_tie)
        up = jnp.where(jnp.abs(beyond_tie) < near, exact, beyond_tie > 0)
        return below + up.astype(jnp.int32)

    def in_64_bits(x, ratio, significand, places):
        return operator(x, ratio)

    return jax.lax.cond(jnp.all(held), by_float, in_64_bits, x, ratio, significand, places)
