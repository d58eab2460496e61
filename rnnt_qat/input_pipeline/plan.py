"""An epoch's plan: which examples share a batch, and in what order the batches come."""

import dataclasses

import numpy as np

from rnnt_qat.input_pipeline.buckets import Bucket, bucket_of
from rnnt_qat.typing import Int

PADDING = -1
"""The example of a row that holds none."""


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """The rows of one batch, over all processes.

    Attributes:
      bucket: its shape.
      examples: example of each row, ``PADDING`` at the end of the longest bucket's last batch.
    """

    bucket: Bucket
    examples: Int[np.ndarray, "B"]

    def rows_of_process(self, index: int, count: int) -> Int[np.ndarray, "b"]:
        """The rows that process ``index`` of ``count`` loads: contiguous, equal shares."""
        share, rest = divmod(len(self.examples), count)
        if rest:
            raise ValueError(f"a batch of {len(self.examples)} rows is not shared by {count}")
        return self.examples[index * share : (index + 1) * share]


def plan_epoch(
    num_samples: Int[np.ndarray, "E"],
    buckets: tuple[Bucket, ...],
    rng: np.random.Generator | None = None,
) -> list[PlannedBatch]:
    """Batches with every example exactly once; a pure function of its arguments.

    What does not fill a bucket's last batch moves on to the next longer bucket, so only one batch
    of an epoch can have rows without an example.

    Args:
      num_samples: audio length of each example.
      buckets: shapes, shortest first.
      rng: shuffles examples within buckets, and the batches; None keeps the order.
    """
    where = bucket_of(num_samples, buckets)
    batches = []
    rest = np.zeros(0, np.int64)
    for i, bucket in enumerate(buckets):
        members = np.concatenate([rest, np.flatnonzero(where == i)])
        if rng is not None:
            rng.shuffle(members)
        if i == len(buckets) - 1:
            missing = -len(members) % bucket.batch_size
            members = np.pad(members, (0, missing), constant_values=PADDING)
        whole = len(members) // bucket.batch_size * bucket.batch_size
        rest = members[whole:]
        rows = members[:whole].reshape(-1, bucket.batch_size)
        batches += [PlannedBatch(bucket, examples) for examples in rows]
    if rng is not None:
        batches = [batches[i] for i in rng.permutation(len(batches))]
    return batches


def num_batches(num_samples: Int[np.ndarray, "E"], buckets: tuple[Bucket, ...]) -> int:
    """Length of :func:`plan_epoch`'s list, without making it."""
    members = np.bincount(bucket_of(num_samples, buckets), minlength=len(buckets))
    batches = rest = 0
    for count, bucket in zip(members.tolist(), buckets, strict=True):
        full, rest = divmod(rest + count, bucket.batch_size)
        batches += full
    return batches + (rest > 0)
