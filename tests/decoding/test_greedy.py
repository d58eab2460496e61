"""Greedy search against a plain Python loop, over tables and a recurrent toy."""

import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.decoding.greedy import GreedyConfig
from tests.decoding.streaming import assert_same_hypotheses, run_search
from tests.reference.greedy import GreedyReference
from tests.reference.table_transducer import (
    TableTransducer,
    ToyRecurrentTransducer,
    random_table,
)

TABLE = random_table(0, 7, 125, 5, blank_bias=0.8)
REDUCED_TABLE = random_table(1, 7, 125, 5, blank_bias=0.8, time_reduction=2)
CHATTERBOX = random_table(2, 7, 125, 5, blank_bias=-20.0)  # always up to the bound
TOY = ToyRecurrentTransducer.random(3, 1, 16, 6, blank_bias=2.0, time_reduction=2)
LENGTHS = np.array([24, 0, 1, 13, 20, 7])


def table_features(seed, batch, frames):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(0, 7, (batch, frames, 1)), jnp.float32)


def check(transducer, features, config, chunk=None):
    """Tokens, times and probability of every row are the reference's; returns the hypotheses."""
    _, got = run_search(transducer, features, LENGTHS, config, chunk)
    reference = GreedyReference(transducer)
    for b, length in enumerate(LENGTHS):
        want = reference(features[b], length, config.max_symbols_per_frame)
        n = got.length[b]
        assert got.tokens[b, :n].tolist() == want.tokens
        assert got.emission_frames[b, :n].tolist() == want.emission_frames
        np.testing.assert_allclose(got.log_prob[b], want.log_prob, rtol=1e-5, atol=1e-5)
        assert (got.tokens[b, n:] == 0).all()
        assert (got.emission_frames[b, n:] == -1).all()
    assert got.length.sum() > 10
    assert got.length[1] == 0
    assert got.log_prob[1] == 0
    assert (got.overflow == 0).all()
    return got


@pytest.mark.parametrize(
    "transducer",
    [
        TABLE,
        *(pytest.param(t, marks=pytest.mark.exhaustive) for t in (REDUCED_TABLE, CHATTERBOX)),
        TOY,
    ],
)
def test_equals_the_python_loop_for_every_chunking(transducer):
    features = table_features(5, 6, 24)
    config = GreedyConfig(max_symbols_per_frame=3, max_tokens=80)
    whole = check(transducer, features, config)
    for chunk in (2, 6, 12):
        assert_same_hypotheses(run_search(transducer, features, LENGTHS, config, chunk)[1], whole)


@pytest.mark.parametrize(("max_symbols", "window"), [(1, 4), (3, 1), (3, 64)])
def test_equals_the_python_loop_for_every_option(max_symbols, window):
    config = GreedyConfig(max_symbols, max_tokens=80, window_frames=window)
    check(TABLE, table_features(6, 6, 24), config)


@pytest.mark.parametrize("bound", [1, 5])
def test_symbols_per_frame_are_bounded(bound):
    config = GreedyConfig(bound, max_tokens=80)
    _, got = run_search(CHATTERBOX, table_features(9, 2, 10), [10, 4], config)
    np.testing.assert_array_equal(got.length, [10 * bound, 4 * bound])
    frames, counts = np.unique(got.emission_frames[0, : 10 * bound], return_counts=True)
    assert frames.tolist() == list(range(10))
    assert (counts == bound).all()


def test_overflow_is_counted():
    features = table_features(9, 2, 10)
    _, full = run_search(CHATTERBOX, features, [10, 1], GreedyConfig(2, max_tokens=20))
    _, got = run_search(CHATTERBOX, features, [10, 1], GreedyConfig(2, max_tokens=7))
    np.testing.assert_array_equal(got.overflow, [13, 0])
    np.testing.assert_array_equal(got.length, [7, 2])
    np.testing.assert_array_equal(got.tokens[0], full.tokens[0, :7])
    np.testing.assert_allclose(got.log_prob, full.log_prob, rtol=1e-6)


def test_ties_take_the_first_symbol():
    logits = jnp.zeros((1, 1, 4), jnp.int8).at[0, 0, 2].set(5).at[0, 0, 3].set(5)
    config = GreedyConfig(max_symbols_per_frame=2, max_tokens=8)
    features = table_features(0, 1, 3)
    _, got = run_search(TableTransducer(logits), features, [3], config)
    assert got.tokens[0, :6].tolist() == [2] * 6
    blank = TableTransducer(logits.at[0, 0, 0].set(5))
    assert run_search(blank, features, [3], config)[1].length[0] == 0


def test_a_bad_option_names_itself():
    with pytest.raises(ValueError, match="max_tokens must be at least 1, got 0"):
        GreedyConfig(max_tokens=0)
