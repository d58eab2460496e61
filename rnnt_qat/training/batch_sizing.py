"""The largest batches whose training step fits into a memory budget, by measured memory.

What is measured is what the compiler states of the compiled step on one device: its arguments (the
state and a batch), results and temporary values. Batches that wait on the device, programs, and
what an allocator wastes come on top, so a budget is less than a device's memory.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils

from rnnt_qat.infra.errors import UserError
from rnnt_qat.training.compilation import CompiledUpdate
from rnnt_qat.training.device_batches import ResumableIterator
from rnnt_qat.training.state import TrainState
from rnnt_qat.typing import PyTree

ATTEMPTS = 6
"""Measured sizes of one bucket's batches, at most, before the largest that fits is taken.

Those that only multiply by `GROWTH` come on top: how many are needed depends on the first size."""

CLOSE = 0.04
"""Share of the budget that may be left without a further measurement."""

GROWTH = 4
"""Largest factor between a size that fits and the next one measured."""


class MemoryBudgetError(UserError, ValueError):
    """A memory budget that the smallest possible batch exceeds."""


class SizedBatches(ResumableIterator, Protocol):
    """Training batches in a few shapes (buckets), whose size in seconds of audio can change."""

    @property
    def batch_seconds(self) -> float:
        """Maximum seconds of audio in a batch."""

    @property
    def size_limits(self) -> tuple[float, float]:
        """The smallest and the largest useful ``batch_seconds``."""

    def batch_shapes(self, batch_seconds: float) -> Sequence[PyTree]:
        """Returns a batch of shapes for each bucket, of a size that need not be the current one.

        Args:
          batch_seconds: maximum seconds of audio in a batch.
        """

    def resize(self, batch_seconds: float) -> None:
        """Changes the size of the batches that follow."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """A size of batches that fits into a budget.

    Attributes:
      batch_seconds: maximum seconds of audio in a batch.
      step_bytes: memory of the step of the bucket that takes most.
    """

    batch_seconds: float
    step_bytes: int


@dataclasses.dataclass(frozen=True)
class BatchSizing:
    """A choice of the batch size of each training stage.

    Attributes:
      batches: the training batches.
      memory_bytes: memory that a step may take on a device.
      fixed_seconds: size in stages that do not train, and the first one measured in others.
    """

    batches: SizedBatches
    memory_bytes: int
    fixed_seconds: float

    def choose(self, update: CompiledUpdate, state: TrainState) -> Fit:
        """Returns the largest size whose step fits; ``update`` keeps the programs of that size.

        Args:
          update: the stage's update.
          state: the stage's first state.

        Raises:
          MemoryBudgetError: if no batch is small enough.
        """

        @functools.cache
        def measure(batch_seconds: float, bucket: int) -> int:
            return update.step_bytes(state, self.batches.batch_shapes(batch_seconds)[bucket])

        fit = largest_fitting(
            measure,
            len(self.batches.batch_shapes(self.fixed_seconds)),
            self.memory_bytes,
            self.fixed_seconds,
            self.batches.size_limits,
        )
        if jax.process_count() > 1:  # in tenths, which are exact; the same on every process
            tenths = np.int32(round(10 * fit.batch_seconds))
            agreed = int(multihost_utils.broadcast_one_to_all(tenths))
            fit = dataclasses.replace(fit, batch_seconds=agreed / 10)
        update.keep_only(self.batches.batch_shapes(fit.batch_seconds))
        return fit


def largest_fitting(
    measure: Callable[[float, int], int],
    buckets: int,
    budget: int,
    first: float,
    limits: tuple[float, float],
) -> Fit:
    """Searches the largest batches that fit, in tenths of a second.

    All buckets are measured at the first size and at the result, and in between only the one that
    takes most: each measurement compiles a program.

    Args:
      measure: returns the bytes of a step, from ``batch_seconds`` and the number of a bucket.
      buckets: number of buckets.
      budget: largest permitted number of bytes.
      first: size to measure first, in seconds.
      limits: the smallest and the largest size, in seconds.

    Raises:
      MemoryBudgetError: if no size fits.
    """
    least, most = (round(10 * seconds) for seconds in limits)
    most = max(least, most)
    size = min(max(round(10 * first), least), most)
    searches = [_Search(functools.partial(_in_tenths, measure, b), budget) for b in range(buckets)]
    used = [search.measure(size) for search in searches]
    while True:
        worst = used.index(max(used))
        size = searches[worst].largest(least, most)
        used = [search.measure(size) for search in searches]
        if max(used) <= budget:
            return Fit(size / 10, max(used))
        most = size  # another bucket takes more at this size: the next one is smaller


def _in_tenths(measure: Callable[[float, int], int], bucket: int, size: int) -> int:
    return measure(size / 10, bucket)


class _Search:
    """The search of the largest size whose memory fits, of one bucket; sizes in tenths of a second.

    Args:
      measure: returns the bytes of a step from the size.
      budget: largest permitted number of bytes.
    """

    def __init__(self, measure: Callable[[int], int], budget: int):
        self._measure, self._budget = measure, budget
        self._fits: dict[int, int] = {}
        self._exceeds: dict[int, int] = {}

    def measure(self, size: int) -> int:
        """Returns the bytes of a step, and notes whether they fit."""
        used = self._measure(size)
        (self._fits if used <= self._budget else self._exceeds)[size] = used
        return used

    def largest(self, least: int, most: int) -> int:
        """Returns the largest size between limits, of those measured, whose memory fits.

        Raises:
          MemoryBudgetError: if none fits.
        """
        self._approach(least, most)
        if not self._within(most):
            if (used := self.measure(least)) > self._budget:
                raise MemoryBudgetError(
                    f"pipeline.memory_bytes={self._budget}: the step of the smallest batch "
                    f"({least / 10:g} s of audio) takes {used}; raise it, or lower "
                    "pipeline.max_seconds or the model's sizes"
                )
            self._approach(least, most)
        return max(self._within(most))

    def _within(self, most: int) -> dict[int, int]:
        return {size: used for size, used in self._fits.items() if size <= most}

    def _approach(self, least: int, most: int) -> None:
        """Measures sizes until little of the budget is left, or often enough."""
        seen: set[int] = set()
        for _ in range(4 * ATTEMPTS):
            size = _next(self._within(most), self._exceeds, self._budget, least, most)
            if size is None or len(seen) == ATTEMPTS:
                return
            grows = size == GROWTH * max(self._within(most), default=0)
            used = self.measure(size)
            # Sizes of equally many rows take the same memory, and no further compilation.
            if not grows:
                seen.add(used)


def _next(
    fits: dict[int, int], exceeds: dict[int, int], budget: int, least: int, most: int
) -> int | None:
    """Returns the next size to measure, on a straight line; None if there is nothing to gain."""
    low, high = max(fits, default=None), min(exceeds, default=None)
    aimed = (1 - CLOSE / 2) * budget
    bottom = least if low is None else low + 1
    top = most if high is None else high - 1
    if (low is not None and fits[low] >= (1 - CLOSE) * budget) or bottom > top:
        return None
    if low is not None and high is not None:
        (a, used_a), (b, used_b) = (low, fits[low]), (high, exceeds[high])
    else:
        known = sorted((fits or exceeds).items(), reverse=bool(fits))
        (b, used_b), (a, used_a) = (*known, (0, 0))[:2]
        if used_a == used_b:  # equally many rows
            a = used_a = 0
    slope = (used_b - used_a) / (b - a)
    aim = a + (aimed - used_a) / slope if slope > 0 else top
    if low is not None:
        top = min(top, GROWTH * low)
    return int(min(max(aim, bottom), top))
