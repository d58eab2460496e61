import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_qat.input_pipeline.buckets import Bucket, bucket_of, choose_buckets

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=40).map(np.array)


def choose(num_samples, num_buckets=3, quantum=4, budget=240, multiple=2):
    return choose_buckets(
        num_samples, num_samples // 5 + 1, num_buckets=num_buckets, quantum=quantum,
        batch_samples=budget, row_multiple=multiple,
    )  # fmt: skip


def padded(num_samples, edges):
    return sum(min(edge for edge in edges if edge >= n) for n in num_samples)


@settings(deadline=None)
@given(lengths, st.integers(1, 4))
def test_boundaries_waste_the_least_possible(num_samples, num_buckets):
    buckets = choose(num_samples, num_buckets)
    edges = [bucket.num_samples for bucket in buckets]
    assert edges == sorted(set(edges))
    candidates = sorted({-(-int(n) // 4) * 4 for n in num_samples})
    assert len(edges) == min(num_buckets, len(candidates))
    best = min(
        padded(num_samples, [*some, candidates[-1]])
        for some in itertools.combinations(candidates[:-1], len(edges) - 1)
    )
    assert padded(num_samples, edges) == best


@settings(deadline=None)
@given(lengths)
def test_every_example_fits_its_bucket_and_every_batch_its_budget(num_samples):
    buckets = choose(num_samples)
    for n, which in zip(num_samples, bucket_of(num_samples, buckets), strict=True):
        bucket = buckets[which]
        assert n <= bucket.num_samples
        assert which == 0 or n > buckets[which - 1].num_samples
        assert all(n // 5 + 1 <= longer.num_labels for longer in buckets[which:])
    for bucket in buckets:
        assert bucket.num_samples % 4 == 0
        assert bucket.batch_size % 2 == 0
        assert 0 < bucket.batch_size * bucket.num_samples <= 240
        assert (bucket.batch_size + 2) * bucket.num_samples > 240


def test_refusals_name_what_to_change():
    with pytest.raises(ValueError, match=r"cannot hold 8 rows of 60: raise pipeline.batch_seconds"):
        choose(np.array([60]), budget=479, multiple=8)
    with pytest.raises(ValueError, match="no training example"):
        choose(np.array([], int))
    with pytest.raises(ValueError, match="9 samples do not fit the longest bucket, 8"):
        bucket_of(np.array([9]), (Bucket(8, 1, 1),))
