import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt_qat.input_pipeline.buckets import Bucket
from rnnt_qat.input_pipeline.plan import PADDING, num_batches, plan_epoch

BUCKETS = (Bucket(10, 5, 6), Bucket(30, 5, 4), Bucket(60, 5, 2))
lengths = st.lists(st.integers(1, 60), min_size=1, max_size=60).map(np.array)


@settings(deadline=None)
@given(lengths, st.integers(0, 99))
def test_every_example_once_in_its_bucket_and_padding_last(num_samples, seed):
    plan = plan_epoch(num_samples, BUCKETS, np.random.default_rng(seed))
    assert len(plan) == num_batches(num_samples, BUCKETS)
    rows = np.concatenate([batch.examples for batch in plan])
    assert sorted(rows[rows != PADDING]) == list(range(len(num_samples)))
    assert sum((batch.examples == PADDING).any() for batch in plan) <= 1
    for batch in plan:
        assert len(batch.examples) == batch.bucket.batch_size
        real = batch.examples != PADDING
        assert real.any()
        assert (np.diff(real.astype(int)) <= 0).all()
        assert (num_samples[batch.examples[real]] <= batch.bucket.num_samples).all()


@settings(deadline=None)
@given(lengths, st.integers(0, 99))
def test_the_plan_is_a_function_of_the_seed(num_samples, seed):
    one, two = (plan_epoch(num_samples, BUCKETS, np.random.default_rng(seed)) for _ in range(2))
    assert all((a.examples == b.examples).all() for a, b in zip(one, two, strict=True))


def test_shuffling_moves_examples_and_batches_and_no_rng_keeps_the_order():
    num_samples = np.arange(600) % 60 + 1
    ordered = plan_epoch(num_samples, BUCKETS)
    assert [b.bucket.num_samples for b in ordered] == sorted(b.bucket.num_samples for b in ordered)
    shuffled = plan_epoch(num_samples, BUCKETS, np.random.default_rng(0))
    assert len({b.bucket for b in shuffled[:10]}) > 1
    assert {tuple(sorted(b.examples)) for b in ordered} != {
        tuple(sorted(b.examples)) for b in shuffled
    }


def test_processes_share_a_batch():
    batch = plan_epoch(np.array([5] * 6), BUCKETS)[0]
    parts = [batch.rows_of_process(i, 3) for i in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), batch.examples)
    with pytest.raises(ValueError, match="6 rows is not shared by 4"):
        batch.rows_of_process(0, 4)
