"""Size-limited in-memory cache of processed utterances."""

import threading
from collections.abc import Callable, Hashable
from typing import TypeVar

import jax

from rnnt_qat.typing import PyTree

Arrays = TypeVar("Arrays", bound=PyTree)


class Cache:
    """A thread-safe cache of NumPy arrays or pytrees of them.

    Entries are never evicted: every epoch reads every utterance once in a new order, so a least
    recently used policy would evict entries before they are read again.
    """

    def __init__(self, max_bytes: int):
        """Creates a cache of at most ``max_bytes``."""
        self._free = max_bytes
        self._kept: dict[Hashable, PyTree] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Arrays]) -> Arrays:
        """Returns the cached result of ``make`` for this key, or calls it."""
        if key in self._kept:
            return self._kept[key]
        arrays = make()
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
        with self._lock:
            if key not in self._kept and size <= self._free:
                self._kept[key] = arrays
                self._free -= size
        return arrays
