"""Exact integer matrix products on float32 carriers, differentiable as linear functions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnt_qat.fixedpoint.dot import Accumulator, dot
from rnnt_qat.fixedpoint.saturation import fit, int_range, saturating_add
from rnnt_qat.quant.aqt_engine import FLOAT32_EXACT_BOUND, integer_matmul
from rnnt_qat.quant.matmul import matmul
from rnnt_qat.quant.qtensor import LOW_BITS
from rnnt_qat.quant.straight_through import straight_through
from rnnt_qat.typing import Array, Float, Int


class Accumulated(NamedTuple):
    """An accumulator in training, in the representation of ``QTensor``.

    Attributes:
      values: the sum without ``low``; carries the gradient.
      low: the lowest 16 bits, if ``values`` omits them.
      integers: the complete sum as int32, if it was computed as such.
    """

    values: Float[Array, "*S M"]
    low: Float[Array, "*S M"] | None = None
    integers: Int[Array, "*S M"] | None = None


EXACT_PRODUCTS = FLOAT32_EXACT_BOUND // (128 * 127)
"""Number of products int8 x [-127, 127] whose sum is always exact in float32: 1,032."""


def product_int8(
    x: Float[Array, "*S K"],
    w: Float[Array, "K M"],
    bias: Float[Array, "M"] | None,
    accumulator: Accumulator,
) -> Accumulated:
    """Computes ``x @ w + bias`` of int8 operands in an accumulator of up to 32 bits.

    Args:
      x: integers of up to 8 bits, as float32.
      w: integers in [-127, 127], as float32.
      bias: integers within the accumulator, as float32.
      accumulator: width, overflow behaviour and tile size.

    Returns:
      The accumulator, exact. Its gradient is that of the linear function, without overflow.
    """
    free = w.shape[0] * 128 * 127 <= int_range(accumulator.bits)[1]
    if bias is None and free and w.shape[0] <= EXACT_PRODUCTS:
        return Accumulated(integer_matmul(x, w))
    if free and accumulator.tile is None:
        starts = range(0, w.shape[0], EXACT_PRODUCTS)
        parts = (
            _to_int(integer_matmul(x[..., k : k + EXACT_PRODUCTS], w[k : k + EXACT_PRODUCTS]))
            for k in starts
        )
        total = sum(parts, start=jnp.int32(0))
        if bias is not None:
            total = saturating_add(total, _to_int(bias))
        total = fit(total, accumulator.bits, accumulator.overflow)
    else:
        narrow = (_to_int(x).astype(jnp.int8), _to_int(w).astype(jnp.int8))
        total = dot(*narrow, None if bias is None else _to_int(bias), accumulator)
    split = _split(total >> LOW_BITS, total & 0xFFFF, _linear(x, w, bias))
    return split._replace(integers=total)


def product_int16(
    x: Float[Array, "*S K"], w: Float[Array, "K M"], bias: Float[Array, "M"] | None
) -> Accumulated:
    """Computes ``x @ w + bias`` of int16 by int8 operands, without overflow.

    With ``x = 256 * high + low + 128`` both halves are int8; one product computes both, over twice
    the rows.

    Args:
      x: integers of up to 16 bits, as float32.
      w: integers in [-127, 127], as float32. Products are computed in pieces of up to 1,032 rows.
      bias: integers below 2^39, as float32.

    Returns:
      The accumulator, exact, split into ``values`` and ``low``.
    """
    held = jax.lax.stop_gradient(x)
    high = jnp.floor(held / 256)
    halves = jnp.stack([high, held - 256 * high - 128])
    weights = jax.lax.stop_gradient(w)
    high_sum = low_sum = jnp.int32(0)
    for k in range(0, w.shape[0], EXACT_PRODUCTS):
        piece = slice(k, k + EXACT_PRODUCTS)
        part = _to_int(integer_matmul(halves[..., piece], weights[piece]))
        high_sum, low_sum = high_sum + part[0], low_sum + part[1]
    low_sum = low_sum + 128 * _to_int(weights).sum(axis=0)
    # 256 * high_sum + low_sum, with its lowest 16 bits held separately.
    upper = high_sum >> 8
    lower = ((high_sum & 255) << 8) + low_sum
    if bias is not None:
        bias_upper = jnp.floor(jax.lax.stop_gradient(bias) / 2**LOW_BITS)
        upper = upper + _to_int(bias_upper)
        lower = lower + _to_int(bias - bias_upper * 2**LOW_BITS)
    return _split(upper + (lower >> LOW_BITS), lower & 0xFFFF, _linear(x, w, bias))


def _linear(x, w, bias):
    """Computes the same sum inexactly, for its gradient; the value is never used."""
    product = matmul(x, w)
    return product if bias is None else product + bias


def _split(upper: Int[Array, "*S M"], lower: Int[Array, "*S M"], linear: Array) -> Accumulated:
    values = upper.astype(jnp.float32) * 2.0**LOW_BITS
    return Accumulated(straight_through(values, linear), lower.astype(jnp.float32))


def _to_int(x: Float[Array, "*S"]) -> Int[Array, "*S"]:
    return jax.lax.stop_gradient(x).astype(jnp.int32)
