"""Greedy search against a plain Python loop, over tables and a recurrent toy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.decoding.greedy import GreedyConfig
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


def table_features(seed, batch, frames):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(0, 7, (batch, frames, 1)), jnp.float32)


def search(transducer, features, lengths, config, chunk):
    """All chunks of ``chunk`` feature frames, one jitted step each."""
    greedy = config.build()
    B, T, _ = features.shape
    step = jax.jit(lambda *args: greedy.step(transducer, *args))
    encode = jax.jit(transducer.encode)
    encoder_state = transducer.initial_encoder_state(B)
    state = greedy.initial_state(transducer, B)
    for start in range(0, T, chunk):
        part = features[:, start : start + chunk]
        mask = start + jnp.arange(part.shape[1]) < lengths[:, None]
        encoded, encoded_mask, encoder_state = encode(part, mask, encoder_state)
        state = step(encoded, encoded_mask, state)
    return jax.tree.map(np.asarray, greedy.hypothesis(state))


@pytest.mark.parametrize("transducer", [TABLE, REDUCED_TABLE, CHATTERBOX, TOY])
@pytest.mark.parametrize(("max_symbols", "window"), [(1, 4), (3, 1), (3, 64)])
def test_equals_the_python_loop(transducer, max_symbols, window):
    features = table_features(5, 6, 24)
    lengths = jnp.array([24, 0, 1, 13, 20, 7])
    config = GreedyConfig(max_symbols, max_tokens=80, window_frames=window)
    got = search(transducer, features, lengths, config, chunk=24)
    reference = GreedyReference(transducer)
    emitted = 0
    for b in range(6):
        want = reference(features[b], int(lengths[b]), max_symbols)
        n = got.length[b]
        assert got.tokens[b, :n].tolist() == want.tokens
        assert got.emission_frames[b, :n].tolist() == want.emission_frames
        np.testing.assert_allclose(got.log_prob[b], want.log_prob, rtol=1e-5, atol=1e-5)
        assert (got.tokens[b, n:] == 0).all()
        assert (got.emission_frames[b, n:] == -1).all()
        emitted += n
    assert emitted > 10
    assert got.length[1] == 0
    assert got.log_prob[1] == 0
    assert (got.overflow == 0).all()


@pytest.mark.parametrize("transducer", [TABLE, REDUCED_TABLE, CHATTERBOX, TOY])
def test_every_chunking_gives_the_same(transducer):
    features = table_features(8, 4, 24)
    lengths = jnp.array([24, 11, 0, 17])
    config = GreedyConfig(max_symbols_per_frame=3, max_tokens=80)
    whole = search(transducer, features, lengths, config, chunk=24)
    assert whole.length.max() > 3
    for chunk in (2, 6, 10):
        got = search(transducer, features, lengths, config, chunk)
        for name in ("tokens", "length", "emission_frames", "overflow"):
            np.testing.assert_array_equal(getattr(got, name), getattr(whole, name), err_msg=name)
        np.testing.assert_allclose(got.log_prob, whole.log_prob, rtol=1e-5)


def test_symbols_per_frame_are_bounded():
    features = table_features(9, 2, 10)
    for bound in (1, 2, 5):
        config = GreedyConfig(bound, max_tokens=80)
        got = search(CHATTERBOX, features, jnp.array([10, 4]), config, chunk=10)
        np.testing.assert_array_equal(got.length, [10 * bound, 4 * bound])
        frames, counts = np.unique(got.emission_frames[0, : 10 * bound], return_counts=True)
        assert frames.tolist() == list(range(10))
        assert (counts == bound).all()


def test_overflow_is_counted():
    features = table_features(9, 2, 10)
    full = search(CHATTERBOX, features, jnp.array([10, 1]), GreedyConfig(2, max_tokens=20), 10)
    got = search(CHATTERBOX, features, jnp.array([10, 1]), GreedyConfig(2, max_tokens=7), 10)
    np.testing.assert_array_equal(got.overflow, [13, 0])
    np.testing.assert_array_equal(got.length, [7, 2])
    np.testing.assert_array_equal(got.tokens[0], full.tokens[0, :7])
    np.testing.assert_allclose(got.log_prob, full.log_prob, rtol=1e-6)


def test_integer_ties_take_the_first_symbol():
    logits = jnp.zeros((1, 1, 4), jnp.int8).at[0, 0, 2].set(5).at[0, 0, 3].set(5)
    config = GreedyConfig(max_symbols_per_frame=2)
    transducer = TableTransducer(logits)
    got = search(transducer, table_features(0, 1, 3), jnp.array([3]), config, chunk=3)
    assert got.tokens[0, :6].tolist() == [2] * 6
    blank = TableTransducer(logits.at[0, 0, 0].set(5))
    assert search(blank, table_features(0, 1, 3), jnp.array([3]), config, 3).length[0] == 0


def test_a_bad_option_names_itself():
    with pytest.raises(ValueError, match="max_tokens must be at least 1, got 0"):
        GreedyConfig(max_tokens=0)
