import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.losses.tiles import TILE_FRAMES, TILE_LABELS, Tiling, add, put, take, visit

SHAPES = [(1, 1, 1, 1), (4, 3, 2, 2), (4, 2 * TILE_FRAMES, TILE_LABELS, 1), (6, 37, 11, 3)]


def numbered(B, T, U1):
    return jnp.arange(1.0, 1 + B * T * U1).reshape(B, T, U1)


@pytest.mark.parametrize(("B", "T", "U1", "groups"), SHAPES)
def test_joining_undoes_cutting(B, T, U1, groups):
    tiling = Tiling(B, T, U1, groups)
    cells = numbered(B, T, U1)
    np.testing.assert_array_equal(tiling.join_cells(tiling.cut_cells(cells)), cells)
    assert not np.asarray(tiling.cut_cells(cells)[:, -1]).any()
    frames, columns = cells, cells.transpose(0, 2, 1)
    np.testing.assert_array_equal(tiling.join_frames(tiling.cut_frames(frames)), frames)
    np.testing.assert_array_equal(tiling.join_columns(tiling.cut_columns(columns)), columns)


@pytest.mark.parametrize(("B", "T", "U1", "groups"), SHAPES)
def test_a_tile_is_its_frames_times_its_columns(B, T, U1, groups):
    tiling = Tiling(B, T, U1, groups)
    rng = np.random.default_rng(0)
    frames, columns = jnp.array(rng.normal(size=(B, T))), jnp.array(rng.normal(size=(B, U1)))
    tiles = jnp.broadcast_to(jnp.arange(tiling.per_group), (groups, tiling.per_group))
    frame_tile, label_tile = tiling.position(tiles)
    product = (
        take(tiling.cut_frames(frames), frame_tile)[..., None]
        * take(tiling.cut_columns(columns), label_tile)[..., None, :]
    )
    whole = tiling.cut_cells(frames[:, :, None] * columns[:, None])
    np.testing.assert_array_equal(take(whole, tiles), product)


@pytest.mark.parametrize("per_turn", [1, 2, 3, 7, 20])
def test_every_live_tile_is_visited_once(per_turn):
    rng = np.random.default_rng(per_turn)
    live = jnp.array(np.pad(rng.random((3, 13)) < [[0.9], [0.3], [0.0]], ((0, 0), (0, 1))))

    def body(carry, tiles):
        visits, seen = carry
        visits = add(visits, tiles, jnp.ones(tiles.shape))
        return visits, put(seen, tiles, 1 + tiles)

    start = jnp.zeros((3, 14)), jnp.zeros((3, 14), jnp.int32)
    visits, seen = map(np.asarray, visit(live, per_turn, body, start))
    assert (visits[live] == 1).all()
    assert (visits[:, :-1] <= 1).all()
    marked = np.broadcast_to(1 + np.arange(14), (3, 14))
    np.testing.assert_array_equal(seen[live], marked[live])
    busiest = live.sum(1).max()
    assert visits[0].sum() <= busiest + per_turn


def test_nothing_live_is_no_turn():
    def body(carry, tiles):
        return carry + 1

    assert visit(jnp.zeros((2, 5), bool), 2, body, jnp.int32(0)) == 0
