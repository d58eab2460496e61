import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from rnnt_qat.infra.mesh import global_batch, make_mesh, place_state, state_shardings, to_host


def test_one_device_round_trip():
    mesh = make_mesh()
    state = {"a": jnp.arange(6.0).reshape(2, 3), "n": jnp.int32(4)}
    placed = place_state(state, state_shardings(mesh, state, 0))
    jax.tree.map(np.testing.assert_array_equal, to_host(placed), state)
    batch = global_batch({"x": np.ones((3, 2))}, mesh)
    assert batch["x"].shape == (3, 2)


@pytest.mark.parametrize("shard_above", [0, 11, 12])
def test_large_arrays_are_cut_along_the_largest_axis_that_divides(shard_above, monkeypatch):
    class FourDevices:
        devices = np.empty(4)

    import rnnt_qat.infra.mesh as room

    monkeypatch.setattr(room, "NamedSharding", lambda mesh, spec: spec)
    shapes = {
        "cut": jax.ShapeDtypeStruct((3, 4), jnp.float32),
        "odd": jax.ShapeDtypeStruct((3, 5), jnp.float32),
    }
    specs = state_shardings(FourDevices(), shapes, shard_above)
    assert specs["odd"] == PartitionSpec()
    assert specs["cut"] == (PartitionSpec(None, "data") if shard_above < 12 else PartitionSpec())
