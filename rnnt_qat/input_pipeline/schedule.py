"""Schedule of epochs: the batch of each training step."""

import bisect
import functools
import threading

import numpy as np

from rnnt_qat.input_pipeline.augmentation import WaveformAugmentation, samples_at_speed
from rnnt_qat.input_pipeline.buckets import Bucket
from rnnt_qat.input_pipeline.plan import PlannedBatch, num_batches, plan_epoch
from rnnt_qat.typing import Float, Int

# Keys of independent random streams, so that one kind of draw does not affect another.
_PLAN, _SPEED, _WAVEFORM = range(3)


class EpochSchedule:
    """Lazily computed, thread-safe plans of the epochs, as pure functions of the seed."""

    def __init__(
        self,
        num_samples: Int[np.ndarray, "E"],
        buckets: tuple[Bucket, ...],
        augmentation: WaveformAugmentation,
        seed: int,
    ):
        """Creates a schedule.

        Args:
          num_samples: audio length of each example, before the change of speed.
          buckets: static shapes, shortest first.
          augmentation: draws the speed of each example in each epoch.
          seed: seed of shuffling and augmentation.
        """
        self._num_samples = num_samples
        self._buckets = buckets
        self._augmentation = augmentation
        self._seed = seed
        self._starts = [0]
        self._lock = threading.Lock()
        # Two plans: prefetching threads work on both sides of an epoch boundary.
        self.plan = functools.lru_cache(maxsize=2)(self._plan)

    def locate(self, step: int) -> tuple[int, int]:
        """Returns the epoch of a step and the position of its batch in that epoch, both from 0."""
        with self._lock:
            while self._starts[-1] <= step:
                self._starts.append(self._starts[-1] + self.batches_in(len(self._starts) - 1))
            epoch = bisect.bisect_right(self._starts, step) - 1
            return epoch, step - self._starts[epoch]

    def batches_in(self, epoch: int) -> int:
        """Counts the batches of an epoch; they vary, as speeds move utterances between buckets."""
        return num_batches(self._lengths(self._speeds(epoch)), self._buckets)

    def _plan(self, epoch: int) -> tuple[list[PlannedBatch], Float[np.ndarray, "E"]]:
        """Computes the batches of an epoch, and the speed of each example in it."""
        speeds = self._speeds(epoch)
        rng = self._rng(_PLAN, epoch)
        return plan_epoch(self._lengths(speeds), self._buckets, rng), speeds

    def waveform_rng(self, epoch: int, example: int) -> np.random.Generator:
        """Creates the random generator of the augmentation (other than speed) of an example."""
        return self._rng(_WAVEFORM, epoch, example)

    def _speeds(self, epoch: int) -> np.ndarray:
        return self._augmentation.draw_speeds(self._rng(_SPEED, epoch), len(self._num_samples))

    def _lengths(self, speeds: np.ndarray) -> np.ndarray:
        return samples_at_speed(self._num_samples, speeds)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *key])
