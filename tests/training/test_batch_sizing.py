"""Batches as large as a memory budget allows: the search, and runs that measure their steps."""

import collections
import io
import math

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rnnt_qat.infra.console import Console
from rnnt_qat.infra.mesh import make_mesh, to_host
from rnnt_qat.training.batch_sizing import (
    ATTEMPTS,
    CLOSE,
    GROWTH,
    BatchSizing,
    MemoryBudgetError,
    largest_fitting,
)
from rnnt_qat.training.compilation import CompiledUpdate
from rnnt_qat.training.metrics import read_records
from rnnt_qat.training.plan import bind
from tests.training.toy import WIDTH, ToyIterator, ToyTask, create_state, plan, trainer


@settings(max_examples=200, deadline=None)
@given(
    fixed=st.integers(0, 10**8),
    slopes=st.lists(st.integers(10**3, 10**6), min_size=1, max_size=5),
    largest=st.floats(2.0, 5000.0),
    first=st.floats(1.0, 10_000.0),
)
@example(fixed=0, slopes=[1000], largest=4312.0, first=1.0)
def test_the_size_found_fits_and_little_is_left(fixed, slopes, largest, first):
    """Memory that grows in a straight line, of several buckets; few sizes are measured."""
    budget = int(fixed + max(slopes) * largest)
    measured = collections.Counter()

    def measure(seconds, bucket):
        measured[bucket, seconds] += 1
        return int(fixed + slopes[bucket] * seconds)

    fit = largest_fitting(measure, len(slopes), budget, first, (1.0, 10_000.0))
    assert fit.step_bytes == max(int(fixed + s * fit.batch_seconds) for s in slopes) <= budget
    assert fit.step_bytes >= 0.95 * budget or largest - fit.batch_seconds <= 0.2
    growing = max(0, math.ceil(math.log(largest / first, GROWTH)))
    assert len(measured) <= 2 * len(slopes) + ATTEMPTS + growing


def test_whole_rows_are_counted_and_another_bucket_may_decide():
    """Rows of 7 and 16 s; at large sizes the short bucket's labels take more."""

    def measure(seconds, bucket):
        rows = int(seconds // (7, 16)[bucket])
        return 1000 + (rows * 10 + rows**2 if bucket == 0 else rows * 60)

    budget = 3000
    fit = largest_fitting(measure, 2, budget, 32.0, (16.0, 1000.0))
    # 40 rows of 7 s: 1000 + 400 + 1600 = 3000, while 16 s allow for 33 rows, 528 s.
    assert 0.9 * 280 <= fit.batch_seconds < 287
    assert max(measure(fit.batch_seconds, b) for b in (0, 1)) == fit.step_bytes <= budget


@settings(max_examples=300, deadline=None)
@given(
    fixed=st.integers(0, 10**8),
    lengths=st.lists(st.floats(1.0, 20.0), min_size=1, max_size=5, unique=True),
    of_row=st.lists(st.integers(10**6, 3 * 10**7), min_size=5, max_size=5),
    first=st.floats(20.0, 3000.0),
    rows=st.integers(1, 200),
)
@example(fixed=31882353, lengths=[1.0], of_row=[10**6] * 5, first=20.0, rows=2)
def test_a_row_more_of_some_bucket_would_not_fit_or_little_is_left(
    fixed, lengths, of_row, first, rows
):
    """Memory grows by whole rows, so that many sizes take the same."""

    def measure(seconds, bucket):
        measured.add(count := (bucket, int(seconds / lengths[bucket])))
        return fixed + of_row[bucket] * count[1]

    measured: set[tuple[int, int]] = set()
    buckets, least = range(len(lengths)), np.ceil(10 * max(lengths)) / 10
    budget = fixed + int(max(of_row[b] * int(least / lengths[b]) for b in buckets) * rows)
    fit = largest_fitting(measure, len(lengths), budget, first, (least, 1e6))
    programs = len(measured)
    assert fit.step_bytes == max(measure(fit.batch_seconds, b) for b in buckets) <= budget
    larger = 1.15 * fit.batch_seconds + max(lengths)
    little_is_left = fit.step_bytes >= (1 - CLOSE) * budget
    assert little_is_left or max(measure(larger, b) for b in buckets) > budget
    assert programs <= (2 + ATTEMPTS) * len(lengths) + ATTEMPTS


def test_buckets_of_a_run_in_which_the_longer_one_decides():
    """Measured: 15 rows of 4 s and 3 rows of 16.24 s took 74 and 70 MB, of 130."""

    def measure(seconds, bucket):
        rows = int(seconds / (4.0, 16.24)[bucket])
        return round(1e6 * ((3.4 + 4.72 * rows) if bucket == 0 else (3.6 + 22.13 * rows)))

    fit = largest_fitting(measure, 2, 130_000_000, 60.0, (16.3, 7105.4))
    assert 81.2 <= fit.batch_seconds <= 97.4  # 5 rows of the longer


@pytest.mark.parametrize(("budget", "expected"), [(10**9, 50.0), (2_000, 2.0)])
def test_limits_bound_the_size(budget, expected):
    fit = largest_fitting(lambda s, _: int(1000 * s), 1, budget, 20.0, (2.0, 50.0))
    assert fit.batch_seconds == expected


def test_a_budget_below_the_smallest_batch_is_refused():
    with pytest.raises(
        MemoryBudgetError, match=r"memory_bytes=1999: .*\(2 s of audio\) takes 2000"
    ):
        largest_fitting(lambda s, _: int(1000 * s), 1, 1999, 20.0, (2.0, 50.0))


class SizedToy(ToyIterator):
    """Toy batches of one row a second; two buckets."""

    size_limits = (1.0, 5000.0)

    def __init__(self, batch_seconds=8.0, stop_at=1 << 30):
        super().__init__(rows=int(batch_seconds))
        self.batch_seconds, self._stop_at = batch_seconds, stop_at
        self.sizes = []

    def __next__(self):
        if self._position == self._stop_at:
            raise InterruptedError
        return super().__next__()

    def batch_shapes(self, batch_seconds):
        rows = int(batch_seconds)
        return [
            {
                "x": jax.ShapeDtypeStruct((rows, frames, WIDTH), np.float32),
                "lengths": jax.ShapeDtypeStruct((rows,), np.int32),
            }
            for frames in (3, 5)
        ]

    def resize(self, batch_seconds):
        self.batch_seconds, self._rows = batch_seconds, int(batch_seconds)
        self.sizes.append(batch_seconds)

    def state(self):
        return {**super().state(), "batch_seconds": self.batch_seconds}

    def restore(self, state):
        super().restore(state)
        self.batch_seconds, self._rows = state["batch_seconds"], int(state["batch_seconds"])


BUDGET = 40_000


def sized(workdir, iterator, budget=BUDGET, console=None):
    run = trainer(workdir, plan(6, 2, 6), iterator, console=console, evaluate=False)
    run._sizing = BatchSizing(iterator, budget, 8.0)
    return run


def step_bytes(rows, stage="float"):
    (bound,) = (s for s in bind(plan(6, 2, 6), ToyTask()) if s.name == stage)
    state = bound.begin(create_state(), ())
    update = CompiledUpdate(bound.make_update(0, 5, make_mesh()), make_mesh(), 2**24)
    return max(update.step_bytes(state, b) for b in SizedToy().batch_shapes(rows))


def test_every_training_stage_takes_what_fits_and_a_resumed_run_the_same(tmp_path):
    console, iterator = Console(said := io.StringIO()), SizedToy()
    whole = to_host(sized(tmp_path / "whole", iterator, console=console).run())
    first, calibrated, second = iterator.sizes
    assert calibrated == 8.0
    assert 0.9 * BUDGET < step_bytes(first) <= BUDGET < step_bytes(1.1 * first)
    records = read_records(tmp_path / "whole/metrics.jsonl")
    sizes = [(r["stage"], r["step"], r["batch_seconds"]) for r in records if "batch_seconds" in r]
    assert sizes == [("float", 1, first), ("aware", 9, second)]
    speeds = read_records(tmp_path / "whole/throughput.jsonl")
    (bytes_first, _) = (r["step_bytes"] for r in speeds if "step_bytes" in r)
    assert bytes_first == step_bytes(first)
    assert f"float: batches of {first:g} s, whose step takes 0 of 0 MB" in said.getvalue()

    for stop in (3, 6, 10):  # inside the first stage, between two, inside the last
        workdir = tmp_path / f"cut_{stop}"
        with pytest.raises(InterruptedError):
            sized(workdir, SizedToy(stop_at=stop)).run()
        again = SizedToy()
        resumed = to_host(sized(workdir, again).run())
        jax.tree.map(np.testing.assert_array_equal, resumed, whole)
        assert read_records(workdir / "metrics.jsonl") == records


def test_a_step_takes_its_state_batch_gradients_and_values():
    """At least what it reads and returns, and more for more rows."""
    small, large = step_bytes(10.0), step_bytes(1000.0)
    state = bind(plan(), ToyTask())[0].begin(create_state(), ())
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    rows = sum(np.prod(s.shape) * 4 for s in SizedToy().batch_shapes(1000.0)[1].values())
    assert held < small < large
    assert large > held + rows


def test_programs_of_sizes_that_were_only_measured_are_discarded():
    iterator = SizedToy()
    bound = bind(plan(), ToyTask())[0]
    update = CompiledUpdate(bound.make_update(0, 5, make_mesh()), make_mesh(), 2**24)
    state = bound.begin(create_state(), ())
    fit = BatchSizing(iterator, BUDGET, 8.0).choose(update, state)
    assert update.count == 2
    iterator.resize(fit.batch_seconds)
    assert not any(update.needs_compilation(next(iterator)) for _ in range(2))
