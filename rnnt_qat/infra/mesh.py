"""Devices as a mesh with one axis, ``data``: batches are cut over it, parameters copied or cut."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnt_qat.typing import PyTree

DATA_AXIS = "data"


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices of all processes (or those given) in one row."""
    return Mesh(np.asarray(devices if devices is not None else jax.devices()), (DATA_AXIS,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def rows_sharding(mesh: Mesh) -> NamedSharding:
    """Arrays that lead with B: each device holds its share of the rows."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def summed_over_shards(
    function: Callable[[PyTree, PyTree], PyTree], mesh: Mesh
) -> Callable[[PyTree, PyTree], PyTree]:
    """A sum over rows, ``function(whole, rows)``, from each device's share of the rows.

    Nothing crosses devices but the sums, at the end: left to the partitioner, products over rows
    and time (an LSTM's weight gradients) gather their whole operands on every device. They cross as
    one vector: of several sums, simulated devices that share few threads may each wait for another.
    Whole numbers in them are exact up to 2**24.
    """

    def shard(whole: PyTree, rows: PyTree) -> PyTree:
        vector, restore = ravel_pytree(function(whole, rows))
        return restore(jax.lax.psum(vector, DATA_AXIS))

    specs = (PartitionSpec(), PartitionSpec(DATA_AXIS))
    # The sums' cotangents never leave a shard, so there is nothing to check about them.
    return jax.shard_map(
        shard, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False
    )


def state_shardings(mesh: Mesh, state: PyTree, shard_above: int) -> PyTree:
    """Returns where each leaf of a state lives between steps.

    This is data parallelism whose state may be stored in shares, to save memory between steps and
    in the optimizer's update, which computes on the shares alone (as ZeRO's first stage does). It
    is not fully sharded data parallelism: ``summed_over_shards`` takes whole parameters, so each
    step gathers them on every device, and sums whole gradients over the devices.

    Args:
      mesh: the devices.
      state: arrays or shapes.
      shard_above: a leaf of more elements is cut over the devices along its largest axis that
        they divide; smaller ones are copied to each.
    """
    count = mesh.devices.size

    def place(leaf):
        axes = [a for a, size in enumerate(leaf.shape) if size % count == 0]
        if count == 1 or leaf.size <= shard_above or not axes:
            return replicated(mesh)
        cut = max(axes, key=lambda a: leaf.shape[a])
        return NamedSharding(
            mesh, PartitionSpec(*(DATA_AXIS if a == cut else None for a in range(leaf.ndim)))
        )

    return jax.tree.map(place, state)


def place_state(state: PyTree, shardings: PyTree) -> PyTree:
    """The same host values on every process as global arrays in buffers of their own."""

    def place(leaf, sharding):
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index].copy())

    return jax.tree.map(place, state, shardings)


def global_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """This process' rows, NumPy, to global arrays of all processes' rows.

    Raises:
      ValueError: if the rows do not divide over this process' devices.
    """
    rows = jax.tree.leaves(batch)[0].shape[0]
    local = len(mesh.local_devices)
    if rows % local:
        raise ValueError(
            f"a batch of {rows} rows does not divide over {local} devices: "
            f"make the rows of every bucket a multiple of {local}"
        )
    sharding = rows_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def to_host(tree: PyTree) -> PyTree:
    """Global arrays as NumPy on every process, cut ones gathered."""

    def fetch(leaf):
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return np.asarray(leaf)
        if leaf.is_fully_replicated:
            return np.asarray(leaf.addressable_data(0))
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(fetch, tree)
