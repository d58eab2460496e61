"""Training batches on the devices, with a position that a resumed run goes on from."""

from collections.abc import Iterator
from typing import Any, Protocol

from jax.sharding import Mesh

from rnnt_qat.infra.mesh import global_batch
from rnnt_qat.typing import PyTree


class ResumableIterator(Iterator, Protocol):
    """An infinite iterator over batches with a restorable position.

    Each process receives its own rows of a batch.
    """

    def state(self) -> Any:
        """Returns the position after the last batch, as JSON; the same on all processes."""

    def restore(self, state: Any) -> None:
        """Sets the position to one returned by ``state``."""


class DeviceBatches:
    """Batches on the devices, prefetched by one.

    Args:
      iterator: batches of this process.
      mesh: devices of all processes.

    Attributes:
      position: position of the iterator after the current batch.
    """

    def __init__(self, iterator: ResumableIterator, mesh: Mesh):
        self._iterator, self._mesh = iterator, mesh
        self._ahead: tuple[PyTree, Any] | None = None
        self.position = iterator.state()

    def take(self) -> PyTree:
        """Returns the next batch as global arrays."""
        self.prepare()
        assert self._ahead is not None
        (batch, self.position), self._ahead = self._ahead, None
        return batch

    def prepare(self) -> None:
        """Moves the next batch to the devices, unless it is there."""
        if self._ahead is None:
            batch = global_batch(next(self._iterator), self._mesh)
            self._ahead = batch, self._iterator.state()
