"""Length buckets: the few static shapes of a training run."""

import dataclasses

import numpy as np

from rnnt_qat.infra.config import ConfigError
from rnnt_qat.typing import Int


@dataclasses.dataclass(frozen=True)
class Bucket:
    """One static shape.

    Attributes:
      num_samples: N, audio samples a row; a multiple of the quantum.
      num_labels: U, labels a row: enough for the examples of this bucket and of shorter ones.
      batch_size: B, rows of the whole batch, over all processes.
    """

    num_samples: int
    num_labels: int
    batch_size: int


def choose_buckets(
    num_samples: Int[np.ndarray, "E"],
    num_labels: Int[np.ndarray, "E"],
    *,
    num_buckets: int,
    quantum: int,
    batch_samples: int,
    row_multiple: int,
) -> tuple[Bucket, ...]:
    """The buckets, shortest first, that pad these examples with the fewest samples.

    Boundaries are chosen by dynamic programming over the distinct lengths in quanta, so they are
    optimal for the distribution given; fewer than ``num_buckets`` come back if fewer lengths exist.

    Args:
      num_samples: audio length of each example, positive.
      num_labels: labels of each example.
      num_buckets: the most buckets, that is compilations of the training step.
      quantum: samples that every bucket's N is a multiple of.
      batch_samples: budget of a batch, padding included.
      row_multiple: what every batch size is a multiple of (devices times accumulation steps).

    Raises:
      ConfigError: no example, or the budget cannot hold ``row_multiple`` rows of the longest one.
    """
    if not len(num_samples):
        raise ConfigError(
            "no training example is left: raise pipeline.max_seconds or "
            "pipeline.max_labels_per_second, or look into what data.prepare left out"
        )
    quanta = -(-num_samples // quantum)
    sizes, counts = np.unique(quanta, return_counts=True)
    edges = sizes[_last_of_each_part(sizes, counts, num_buckets)]

    buckets = []
    for high in edges:
        fits = quanta <= high
        rows = batch_samples // (high * quantum) // row_multiple * row_multiple
        if not rows:
            raise ConfigError(
                f"a batch budget of {batch_samples} samples cannot hold {row_multiple} rows of "
                f"{high * quantum}: raise pipeline.batch_seconds, or lower pipeline.max_seconds, "
                "the devices or the accumulation steps"
            )
        buckets.append(Bucket(int(high * quantum), int(num_labels[fits].max()), int(rows)))
    return tuple(buckets)


def _last_of_each_part(sizes: np.ndarray, counts: np.ndarray, parts: int) -> list[int]:
    """Cuts ascending ``sizes`` into parts that minimise sum(counts * the part's last size)."""
    total = len(sizes)
    before = np.concatenate([[0], np.cumsum(counts)])
    best = np.concatenate([[0.0], np.full(total, np.inf)])  # cost of the first j sizes
    cuts = []
    for _ in range(min(parts, total)):
        # cost[i, j]: the first i sizes in earlier parts, sizes i..j-1 padded to size j-1.
        cost = best[:, None] + (before[None, 1:] - before[:, None]) * sizes[None, :]
        cost[np.arange(total + 1)[:, None] > np.arange(total)[None, :]] = np.inf
        cuts.append(np.argmin(cost, axis=0))
        best = np.concatenate([[np.inf], cost.min(axis=0)])
    ends, end = [], total
    for cut in reversed(cuts):
        ends.append(end - 1)
        end = int(cut[end - 1])
    return ends[::-1]


def bucket_of(num_samples: Int[np.ndarray, "E"], buckets: tuple[Bucket, ...]) -> np.ndarray:
    """Position of the shortest bucket that holds each example."""
    edges = [bucket.num_samples for bucket in buckets]
    if len(num_samples) and num_samples.max() > edges[-1]:
        raise ConfigError(f"{num_samples.max()} samples do not fit the longest bucket, {edges[-1]}")
    return np.searchsorted(edges, num_samples)
