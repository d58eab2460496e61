"""Device mesh with one axis, ``data``, and the shardings of batches and parameters over it."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnt_qat.typing import PyTree

DATA_AXIS = "data"


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a one-dimensional mesh of the given devices, or of all devices of all processes."""
    return Mesh(np.asarray(devices if devices is not None else jax.devices()), (DATA_AXIS,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding that replicates an array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def rows_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays over their leading batch axis."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def summed_over_shards(
    function: Callable[[PyTree, PyTree], PyTree], mesh: Mesh
) -> Callable[[PyTree, PyTree], PyTree]:
    """Returns a function that computes sums over rows from each device's shard of the rows.

    Devices exchange only the sums, at the end. Left to the partitioner, products over rows and time
    (an LSTM's weight gradients) would gather their whole operands on every device. The sums are
    exchanged as one vector, because with several reductions simulated devices that share few
    threads may deadlock. Integers are exact up to 2**24.

    Args:
      function: computes sums from ``(whole, rows)``: replicated inputs and a shard of the rows.
      mesh: the devices.
    """

    def shard(whole: PyTree, rows: PyTree) -> PyTree:
        vector, restore = ravel_pytree(function(whole, rows))
        return restore(jax.lax.psum(vector, DATA_AXIS))

    specs = (PartitionSpec(), PartitionSpec(DATA_AXIS))
    # No cotangents of the sums leave a shard, so the check of varying axes is not needed.
    return jax.shard_map(
        shard, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False
    )


def state_shardings(mesh: Mesh, state: PyTree, shard_above: int) -> PyTree:
    """Returns the sharding of each leaf of a state between steps.

    This is data parallelism with an optionally sharded state, which saves memory between steps and
    in the optimizer's update, which computes on the shards only (as ZeRO's first stage does). It
    is not fully sharded data parallelism: ``summed_over_shards`` takes whole parameters, so each
    step gathers them on every device, and sums whole gradients over the devices.

    Args:
      mesh: the devices.
      state: a pytree of arrays or shapes.
      shard_above: number of elements above which a leaf is sharded along its largest axis that is
        divisible by the number of devices; smaller leaves are replicated.
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
    """Converts host values, the same on every process, to global arrays with separate buffers.

    Args:
      state: a pytree of host values.
      shardings: sharding of each leaf.
    """

    def place(leaf, sharding):
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index].copy())

    return jax.tree.map(place, state, shardings)


def global_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Converts each process's NumPy rows to global arrays of all processes' rows.

    Args:
      batch: a pytree of NumPy arrays with this process's rows.
      mesh: the devices.

    Raises:
      ValueError: if the number of rows is not divisible by the number of this process's devices.
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
    """Converts global arrays to NumPy on every process; sharded arrays are gathered."""

    def fetch(leaf):
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return np.asarray(leaf)
        if leaf.is_fully_replicated:
            return np.asarray(leaf.addressable_data(0))
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(fetch, tree)
