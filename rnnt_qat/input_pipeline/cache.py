"""What was made of utterances, kept in memory up to a limit."""

import threading
from collections.abc import Callable, Hashable
from typing import TypeVar

import jax

from rnnt_qat.typing import PyTree

Arrays = TypeVar("Arrays", bound=PyTree)


class Cache:
    """NumPy arrays, or pytrees of them; many threads may ask.

    What has come in stays: every epoch visits every utterance once, in an order of its own, so
    throwing out the oldest would keep nothing that is asked for next.
    """

    def __init__(self, max_bytes: int):
        """Keeps at most ``max_bytes``."""
        self._free = max_bytes
        self._kept: dict[Hashable, PyTree] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Arrays]) -> Arrays:
        """What ``make`` returned for this key, or returns now."""
        if key in self._kept:
            return self._kept[key]
        arrays = make()
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
        with self._lock:
            if key not in self._kept and size <= self._free:
                self._kept[key] = arrays
                self._free -= size
        return arrays
