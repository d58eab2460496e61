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
      examples: example of each row, ``PADDING`` at the end of a bucket's last batch.
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

    Args:
      num_samples: audio length of each example.
      buckets: shapes, shortest first.
      rng: shuffles examples within buckets, and the batches; None keeps the order.
    """
    where = bucket_of(num_samples, buckets)
    batches = []
    for i, bucket in enumerate(buckets):
        members = np.flatnonzero(where == i)
        if rng is not None:
            rng.shuffle(members)
        full = np.pad(members, (0, -len(members) % bucket.batch_size), constant_values=PADDING)
        batches += [PlannedBatch(bucket, rows) for rows in full.reshape(-1, bucket.batch_size)]
    if rng is not None:
        batches = [batches[i] for i in rng.permutation(len(batches))]
    return batches


def num_batches(num_samples: Int[np.ndarray, "E"], buckets: tuple[Bucket, ...]) -> int:
    """Length of :func:`plan_epoch`'s list, without making it."""
    members = np.bincount(bucket_of(num_samples, buckets), minlength=len(buckets))
    return sum(-(-int(n) // b.batch_size) for n, b in zip(members, buckets, strict=True))
