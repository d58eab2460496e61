import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.layers.time_reduction import TimeReduction
from tests.layers.streaming_contract import check_streaming_contract, random_ragged


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_streaming_contract(factor):
    layer = TimeReduction(factor)
    xs, mask = random_ragged(jax.random.key(0), 4, 12, 5)
    check_streaming_contract(
        lambda params, xs, mask, state: layer(xs + params, mask, state),
        layer.initial_state(4),
        jnp.float32(2.0),
        xs,
        mask,
        chunks=(factor, 2 * factor),
        atol=0,
    )


def test_frames_lie_side_by_side_and_a_partial_group_counts():
    xs = jnp.arange(1.0, 7.0).reshape(1, 6, 1)
    ys, mask, _ = TimeReduction(2)(xs, jnp.arange(6)[None] < 3)
    np.testing.assert_array_equal(ys[0], [[1, 2], [3, 0], [0, 0]])
    np.testing.assert_array_equal(mask[0], [True, True, False])


def test_a_chunk_of_odd_length_is_refused():
    with pytest.raises(ValueError, match=r"chunk of 5 frames.*multiple of 2"):
        TimeReduction(2)(jnp.zeros((1, 5, 3)), jnp.ones((1, 5), bool))
