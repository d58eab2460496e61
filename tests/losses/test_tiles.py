import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.losses.tiles import TILE_FRAMES, TILE_LABELS, Tiling, add, for_each_tile, put, take

SHAPES = [(1, 1, 1), (4, 3, 2), (4, 2 * TILE_FRAMES, TILE_LABELS), (6, 37, 11)]


def numbered(B, T, U1):
    return jnp.arange(1.0, 1 + B * T * U1).reshape(B, T, U1)


@pytest.mark.parametrize("shape", SHAPES)
def test_joining_undoes_cutting(shape):
    tiling, cells = Tiling(*shape), numbered(*shape)
    np.testing.assert_array_equal(tiling.join_cells(tiling.cut_cells(cells)), cells)
    assert not np.asarray(tiling.cut_cells(cells)[-1]).any()
    frames, columns = cells, cells.transpose(0, 2, 1)
    np.testing.assert_array_equal(tiling.join_frames(tiling.cut_frames(frames)), frames)
    np.testing.assert_array_equal(tiling.join_columns(tiling.cut_columns(columns)), columns)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tile_is_its_frames_times_its_columns(shape):
    (B, T, U1), tiling = shape, Tiling(*shape)
    rng = np.random.default_rng(0)
    frames, columns = jnp.array(rng.normal(size=(B, T))), jnp.array(rng.normal(size=(B, U1)))
    tiles = jnp.arange(tiling.count)
    frame_tile, label_tile = tiling.position(tiles)
    product = (
        take(tiling.cut_frames(frames), frame_tile)[..., None]
        * take(tiling.cut_columns(columns), label_tile)[..., None, :]
    )
    whole = tiling.cut_cells(frames[:, :, None] * columns[:, None])
    np.testing.assert_array_equal(take(whole, tiles), product)


@pytest.mark.parametrize("share", [0.9, 0.3])
@pytest.mark.parametrize("per_turn", [1, 2, 3, 7, 20])
def test_every_live_tile_is_visited_once(per_turn, share):
    rng = np.random.default_rng(per_turn)
    live = jnp.array(np.append(rng.random(13) < share, False))

    def body(carry, tiles):
        visits, seen = carry
        visits = add(visits, tiles, jnp.ones(tiles.shape))
        return visits, put(seen, tiles, 1 + tiles)

    start = jnp.zeros(14), jnp.zeros(14, jnp.int32)
    visits, seen = map(np.asarray, for_each_tile(live, per_turn, body, start))
    assert (visits[live] == 1).all()
    assert (visits[:-1] <= 1).all()
    np.testing.assert_array_equal(seen[live], 1 + np.arange(14)[live])
    assert visits.sum() < live.sum() + per_turn


def test_nothing_live_is_no_turn():
    def body(carry, tiles):
        return carry + 1

    assert for_each_tile(jnp.zeros(5, bool), 2, body, jnp.int32(0)) == 0
