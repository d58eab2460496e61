"""Plan of an epoch: the examples of each batch, and the order of the batches."""

import dataclasses

import numpy as np

from rnnt_qat.input_pipeline.buckets import Bucket, bucket_of
from rnnt_qat.typing import Int

PADDING = -1
"""Example number of a padding row."""


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """The rows of one batch, over all processes.

    Attributes:
      bucket: shape of the batch.
      examples: example number of each row; ``PADDING`` only at the end of the last batch of the
        longest bucket.
    """

    bucket: Bucket
    examples: Int[np.ndarray, "B"]

    def rows_of_process(self, index: int, count: int) -> Int[np.ndarray, "b"]:
        """Returns the rows of one process: contiguous, equal shares.

        Args:
          index: number of the process.
          count: number of processes.

        Raises:
          ValueError: the rows cannot be shared equally.
        """
        share, rest = divmod(len(self.examples), count)
        if rest:
            raise ValueError(f"a batch of {len(self.examples)} rows is not shared by {count}")
        return self.examples[index * share : (index + 1) * share]


def plan_epoch(
    num_samples: Int[np.ndarray, "E"],
    buckets: tuple[Bucket, ...],
    rng: np.random.Generator | None = None,
) -> list[PlannedBatch]:
    """Plans the batches of an epoch, with every example exactly once.

    Examples that do not fill the last batch of a bucket move to the next longer bucket, so at most
    one batch of an epoch has padding rows. The plan is a pure function of the arguments.

    Args:
      num_samples: audio length of each example in samples.
      buckets: shapes, shortest first.
      rng: shuffles the examples within buckets and the batches; None keeps the order.

    Returns:
      The batches in the order of the epoch.
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
    """Computes the number of batches of :func:`plan_epoch` without planning them."""
    members = np.bincount(bucket_of(num_samples, buckets), minlength=len(buckets))
    batches = rest = 0
    for count, bucket in zip(members.tolist(), buckets, strict=True):
        full, rest = divmod(rest + count, bucket.batch_size)
        batches += full
    return batches + (rest > 0)
