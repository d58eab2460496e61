"""Partition of the lattice into small tiles, of which only the live ones are processed.

A tile has ``TILE_FRAMES x TILE_LABELS`` cells of one row. The live tiles of all rows are listed
first, then a loop processes ``per_turn`` of them per iteration. Padding and cells that alignments
avoid therefore cost no work.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import jax
import jax.numpy as jnp

from rnnt_qat.typing import Array, Bool, Int, Num, Shaped

Carry = TypeVar("Carry")

TILE_FRAMES = 8
"""Frames per tile."""
TILE_LABELS = 4
"""Labels per tile. 8 x 4 is faster than 16 x 4, 8 x 8 and 32 x 4 on a CPU core (8 rows, T 200,
U 50)."""


@dataclass(frozen=True)
class Tiling:
    """Partition of ``B`` lattices ``[T, U + 1]`` into tiles; partial tiles are padded with zeros.

    Tiles are numbered by row, then by frame, then by label. Number ``count`` is an additional tile
    outside all lattices, which fills up incomplete iterations.

    Attributes:
      rows: number of lattices, B.
      frames: frames of a lattice, T.
      columns: label positions of a lattice, U + 1.
    """

    rows: int
    frames: int
    columns: int

    @property
    def _frame_tiles(self) -> int:
        return -(-self.frames // TILE_FRAMES)

    @property
    def _label_tiles(self) -> int:
        return -(-self.columns // TILE_LABELS)

    @property
    def count(self) -> int:
        """Number of tiles of all rows, without the additional one."""
        return self.rows * self._frame_tiles * self._label_tiles

    def cut_frames(self, x: Num[Array, "B T *S"]) -> Num[Array, "Ft Tt *S"]:
        """Splits the frame axis into tiles: ``Ft`` tiles of ``Tt`` frames."""
        return self._cut(x, self._frame_tiles, TILE_FRAMES)

    def cut_columns(self, x: Num[Array, "B U1 *S"]) -> Num[Array, "Lt Ut *S"]:
        """Splits the label axis into tiles: ``Lt`` tiles of ``Ut`` label positions."""
        return self._cut(x, self._label_tiles, TILE_LABELS)

    def join_frames(self, x: Num[Array, "Ft Tt *S"]) -> Num[Array, "B T *S"]:
        """Inverts ``cut_frames``."""
        return x.reshape(self.rows, -1, *x.shape[2:])[:, : self.frames]

    def join_columns(self, x: Num[Array, "Lt Ut *S"]) -> Num[Array, "B U1 *S"]:
        """Inverts ``cut_columns``."""
        return x.reshape(self.rows, -1, *x.shape[2:])[:, : self.columns]

    def cut_cells(self, x: Shaped[Array, "B T U1"]) -> Shaped[Array, "N1 Tt Ut"]:
        """Splits the lattices into tiles and appends the additional tile, all zeros or False."""
        shape = (self._frame_tiles, TILE_FRAMES, self._label_tiles, TILE_LABELS)
        overhang = (shape[0] * shape[1] - self.frames, shape[2] * shape[3] - self.columns)
        x = jnp.pad(x, ((0, 0), (0, overhang[0]), (0, overhang[1])))
        x = x.reshape(self.rows, *shape).transpose(0, 1, 3, 2, 4)
        x = x.reshape(self.count, TILE_FRAMES, TILE_LABELS)
        return jnp.pad(x, ((0, 1), (0, 0), (0, 0)))

    def join_cells(self, x: Num[Array, "N1 Tt Ut"]) -> Num[Array, "B T U1"]:
        """Inverts ``cut_cells``."""
        shape = (self._frame_tiles, self._label_tiles, TILE_FRAMES, TILE_LABELS)
        x = x[:-1].reshape(self.rows, *shape).transpose(0, 1, 3, 2, 4)
        x = x.reshape(self.rows, shape[0] * shape[2], shape[1] * shape[3])
        return x[:, : self.frames, : self.columns]

    def position(self, tiles: Int[Array, "K"]) -> tuple[Int[Array, "K"], Int[Array, "K"]]:
        """Returns frame tile and label tile of each tile; the additional tile maps to the last."""
        tiles = jnp.minimum(tiles, self.count - 1)
        frame_tile, label_tile = tiles // self._label_tiles, tiles % self._label_tiles
        return frame_tile, frame_tile // self._frame_tiles * self._label_tiles + label_tile

    def _cut(self, x: Array, tiles: int, size: int) -> Array:
        x = jnp.pad(x, ((0, 0), (0, tiles * size - x.shape[1]), *[(0, 0)] * (x.ndim - 2)))
        return x.reshape(-1, size, *x.shape[2:])


def for_each_tile(
    live: Bool[Array, "N1"],
    per_turn: int,
    body: Callable[[Carry, Int[Array, "K"]], Carry],
    carry: Carry,
) -> Carry:
    """Runs ``body(carry, tiles)`` over all live tiles, ``K = per_turn`` per iteration.

    Each tile of a lattice is passed at most once. The last iteration is filled up with tiles that
    are not live, then with the additional tile, repeatedly if necessary.

    Args:
      live: whether each tile is to be processed; the last entry is the additional tile.
      per_turn: tiles per iteration.
      body: maps the carry and int32 tile numbers ``[K]`` to the new carry.
      carry: initial carry.

    Returns:
      The carry after the last iteration.
    """
    order = jnp.argsort(~live, stable=True).astype(jnp.int32)
    order = jnp.pad(order, (0, per_turn), constant_values=live.shape[0] - 1)
    turns = -(-jnp.sum(live) // per_turn)

    def turn(i: Array, carry: Carry) -> Carry:
        return body(carry, jax.lax.dynamic_slice_in_dim(order, i * per_turn, per_turn))

    return jax.lax.fori_loop(0, turns, turn, carry)


# Indices are in range by construction. XLA would fuse a bounds check into the joint, per cell.
_IN_RANGE = "promise_in_bounds"


def take(x: Num[Array, "N *S"], index: Int[Array, "K"]) -> Num[Array, "K *S"]:
    """Gathers the entries at ``index``."""
    return x.at[index].get(mode=_IN_RANGE)


def put(
    x: Num[Array, "N *S"], index: Int[Array, "K"], values: Num[Array, "K *S"]
) -> Num[Array, "N *S"]:
    """Replaces the entries at ``index`` by ``values``."""
    return x.at[index].set(values, mode=_IN_RANGE)


def add(
    x: Num[Array, "N *S"], index: Int[Array, "K"], values: Num[Array, "K *S"]
) -> Num[Array, "N *S"]:
    """Adds ``values`` to the entries at ``index``."""
    return x.at[index].add(values.astype(x.dtype), mode=_IN_RANGE)
