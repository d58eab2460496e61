"""Integer matrix products with a model of the accumulator of a chip."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from rnnt_qat.fixedpoint import wide
from rnnt_qat.fixedpoint.saturation import Overflow, fit, saturating_add
from rnnt_qat.typing import Array, Int


@dataclass(frozen=True)
class Accumulator:
    """Width and overflow behaviour of an accumulator.

    Attributes:
      bits: width, 8 to 32; 33 to 48 for int16 x int8 sums, which are kept as two words.
      overflow: behaviour for a sum that does not fit.
      tile: number of consecutive products along K that are summed exactly before the sum is
        reduced to ``bits``; None reduces it once, at the end.
    """

    bits: int = 32
    overflow: Overflow = Overflow.SATURATE
    tile: int | None = None

    def __post_init__(self):
        if not 8 <= self.bits <= 48:
            raise ValueError(f"Accumulator.bits={self.bits}: an accumulator has 8 to 48 bits")
        if self.tile is not None and self.tile < 1:
            raise ValueError(f"Accumulator.tile={self.tile}: a tile has at least one product")
        if self.bits > 32 and self.tile is not None:
            raise ValueError(
                f"Accumulator.tile={self.tile}: accumulators past 32 bits never overflow here"
            )


def dot(
    x: Int[Array, "*S K"],
    w: Int[Array, "K M"],
    bias: Int[Array, "M"] | None = None,
    accumulator: Accumulator = Accumulator(),
) -> Int[Array, "*S M"]:
    """Computes ``x @ w + bias`` on 8-bit integers.

    Args:
      x: int8.
      w: int8.
      bias: int32; the initial value of the sum, part of the first tile.
      accumulator: at most 32 bits.

    Returns:
      int32. A sum that leaves 32 bits before it reaches the accumulator's width (K beyond 131,072
      in one tile) wraps there.
    """
    if accumulator.tile is None:
        total = _product(x, w)
        if bias is not None:
            total = saturating_add(total, bias)
        return fit(total, accumulator.bits, accumulator.overflow)
    total = jnp.zeros((*x.shape[:-1], w.shape[1]), jnp.int32)
    if bias is not None:
        total = total + fit(bias, accumulator.bits, accumulator.overflow)

    def add_tile(total: Array, tile: tuple[Array, Array]) -> tuple[Array, None]:
        part = _product(*tile)
        if accumulator.overflow is Overflow.SATURATE:
            return saturating_add(total, part, accumulator.bits), None
        return fit(total + part, accumulator.bits, accumulator.overflow), None

    # A loop: unrolled, a tile of 2 makes hundreds of products, and minutes of compilation.
    return jax.lax.scan(add_tile, total, _tiles(x, w, accumulator.tile))[0]


def dot_int16(
    x: Int[Array, "*S K"], w: Int[Array, "K M"], bias: wide.Wide | None = None
) -> wide.Wide:
    """Computes ``x @ w + bias`` on int16 by int8 in an accumulator that never overflows.

    The input is split as ``x = 256 * high + low + 128`` with int8 ``high`` and ``low``, so that the
    result needs two int8 products and 128 times the column sums of ``w``.

    Args:
      x: int16.
      w: int8; K up to 65,536.
      bias: initial value of the sum.

    Returns:
      The sum in two words.
    """
    high = (x.astype(jnp.int32) >> 8).astype(jnp.int8)
    low = ((x.astype(jnp.int32) & 255) - 128).astype(jnp.int8)
    offset = 128 * w.astype(jnp.int32).sum(axis=0)
    total = wide.add(shift_left_8(_product(high, w)), wide.widen(_product(low, w) + offset))
    return total if bias is None else wide.add(total, bias)


def shift_left_8(x: Int[Array, "*S"]) -> wide.Wide:
    """Computes ``256 * x`` of int32, without overflow."""
    return wide.Wide(x >> 24, (x << 8).astype(jnp.uint32))


def argmax(x: Int[Array, "*S V"]) -> Int[Array, "*S"]:
    """Returns the first index of the maximum along the last axis (LiteRT's ARG_MAX)."""
    return jnp.argmax(x, axis=-1).astype(jnp.int32)


def _tiles(
    x: Int[Array, "*S K"], w: Int[Array, "K M"], size: int
) -> tuple[Int[Array, "N *S tile"], Int[Array, "N tile M"]]:
    """Both operands in tiles along K; the last one is filled up with zeros, which add nothing."""
    count = -(-w.shape[0] // size)
    fill = count * size - w.shape[0]
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, fill)])
    w = jnp.pad(w, ((0, fill), (0, 0)))
    x = x.reshape(*x.shape[:-1], count, size)
    return jnp.moveaxis(x, -2, 0), w.reshape(count, size, w.shape[1])


def _product(x: Int[Array, "*S K"], w: Int[Array, "K M"]) -> Int[Array, "*S M"]:
    dims = (((x.ndim - 1,), (0,)), ((), ()))
    return jax.lax.dot_general(x, w, dims, preferred_element_type=jnp.int32)
