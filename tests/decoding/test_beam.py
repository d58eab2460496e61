"""Beam search against the enumeration of every alignment, and against greedy search."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnt_qat.decoding.beam import BeamConfig
from rnnt_qat.decoding.greedy import GreedyConfig
from tests.decoding.streaming import assert_same_hypotheses, run_search
from tests.reference.alignments import sequence_log_probs
from tests.reference.table_transducer import (
    TableTransducer,
    ToyRecurrentTransducer,
    random_table,
)

WIDE = BeamConfig(beam_size=128, max_symbols_per_frame=2, max_tokens=8, prune_gap=np.inf)


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_is_exhaustive_search(seed):
    # The table knows the whole history: 3 ** 7 > any of 6 labels out of 2.
    transducer = random_table(seed, 4, 3**7, 3, blank_bias=0.5)
    features = np.random.default_rng(seed).integers(0, 4, (4, 3, 1))
    lengths = [3, 0, 1, 2]
    encoded, _, _ = transducer.encode(
        jnp.asarray(features), jnp.ones((4, 3), bool), transducer.initial_encoder_state(4)
    )
    state, best = run_search(transducer, jnp.asarray(features), lengths, WIDE)
    alternatives = WIDE.build().alternatives(state)
    for b, length in enumerate(lengths):
        want = sequence_log_probs(transducer, np.asarray(encoded)[b, :length, 0], 2)
        alive = np.flatnonzero(alternatives.log_prob[b] > -np.inf)
        got = {}
        for k in alive:
            h = jax.tree.map(lambda x: x[b, k], alternatives)  # noqa: B023
            got[tuple(h.tokens[: h.length].tolist())] = h.log_prob
        assert len(got) == len(alive)  # no tokens twice
        assert got.keys() == want.keys()
        for sequence, log_prob in got.items():
            np.testing.assert_allclose(log_prob, want[sequence][0], rtol=1e-5, atol=1e-5)
        likeliest = max(want, key=lambda sequence: want[sequence][0])
        assert tuple(best.tokens[b, : best.length[b]].tolist()) == likeliest
        np.testing.assert_allclose(best.log_prob[b], want[likeliest][0], rtol=1e-5, atol=1e-5)
        assert sorted(best.emission_frames[b, : best.length[b]]) == list(
            best.emission_frames[b, : best.length[b]]
        )
    assert (best.overflow == 0).all()


def test_merging_finds_what_no_single_alignment_shows():
    """Label 1 is split over two alignments; alone each is less likely than the empty result."""
    probabilities = np.full((1, 2, 3), 1e-6)
    probabilities[0, 0] = [0.55, 0.45, 1e-6]  # nothing said yet
    probabilities[0, 1] = [1.0, 1e-6, 1e-6]  # label 1 said: nothing more
    transducer = TableTransducer(jnp.log(jnp.asarray(probabilities, jnp.float32)))
    features = jnp.zeros((1, 2, 1))
    _, beam = run_search(transducer, features, [2], BeamConfig(beam_size=4))
    assert beam.tokens[0, : beam.length[0]].tolist() == [1]
    np.testing.assert_allclose(np.exp(beam.log_prob[0]), 0.45 + 0.55 * 0.45, rtol=1e-4)
    assert beam.emission_frames[0, 0] == 0  # the likelier of the two
    _, greedy = run_search(transducer, features, [2], GreedyConfig())
    assert greedy.length[0] == 0


@pytest.mark.parametrize(
    "transducer",
    [
        random_table(0, 7, 125, 5, blank_bias=0.8, time_reduction=2),
        pytest.param(
            ToyRecurrentTransducer.random(3, 1, 16, 6, blank_bias=2.0, time_reduction=2),
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_every_chunking_gives_the_same(transducer):
    features = jnp.asarray(np.random.default_rng(8).integers(0, 7, (4, 16, 1)), jnp.float32)
    config = BeamConfig(beam_size=3, max_symbols_per_frame=2, max_tokens=40)
    lengths = [16, 7, 0, 11]
    whole, _ = run_search(transducer, features, lengths, config)
    assert whole.beam.hypothesis.length.max() > 2
    got, _ = run_search(transducer, features, lengths, config, chunk=4)
    assert_same_hypotheses(got.beam.hypothesis, whole.beam.hypothesis)


def test_a_wider_beam_is_no_less_likely_and_beats_greedy():
    transducer = random_table(4, 7, 125, 5, blank_bias=0.8)
    features = jnp.asarray(np.random.default_rng(1).integers(0, 7, (8, 12, 1)), jnp.float32)
    lengths = [12] * 8
    _, greedy = run_search(transducer, features, lengths, GreedyConfig(2, max_tokens=24))
    _, narrow = run_search(transducer, features, lengths, BeamConfig(4, 2, 24))
    _, wide = run_search(transducer, features, lengths, BeamConfig(32, 2, 24))
    assert (narrow.log_prob > greedy.log_prob).all()
    assert wide.log_prob.mean() > narrow.log_prob.mean()


def test_a_beam_of_one_is_greedy_where_decisions_are_sure():
    """Every decision at p = 0.9 or more, at most 5 labels a frame: 0.9 ** 6 > 0.1."""
    rng = np.random.default_rng(5)
    likeliest = rng.choice(5, (7, 125), p=[0.6, 0.1, 0.1, 0.1, 0.1])
    logits = 6.0 * np.eye(5)[likeliest]
    transducer = TableTransducer(jnp.asarray(logits, jnp.float32))
    features = jnp.asarray(rng.integers(0, 7, (6, 20, 1)), jnp.float32)
    lengths = [20, 13, 0, 20, 5, 20]
    _, greedy = run_search(transducer, features, lengths, GreedyConfig(5, max_tokens=100))
    _, beam = run_search(transducer, features, lengths, BeamConfig(1, 5, 100))
    # The argument needs frames that greedy leaves by a blank, not by its bound.
    for row, n in zip(greedy.emission_frames, greedy.length, strict=True):
        assert np.bincount(row[:n], minlength=1).max() < 5
    assert greedy.length.max() > 5
    np.testing.assert_array_equal(beam.tokens, greedy.tokens)
    np.testing.assert_array_equal(beam.emission_frames, greedy.emission_frames)
    np.testing.assert_allclose(beam.log_prob, greedy.log_prob, rtol=1e-5)


def test_overflow_is_counted():
    transducer = random_table(2, 7, 125, 5, blank_bias=-20.0)
    features = jnp.asarray(np.random.default_rng(1).integers(0, 7, (2, 6, 1)), jnp.float32)
    _, full = run_search(transducer, features, [6, 1], BeamConfig(2, 2, 12))
    _, got = run_search(transducer, features, [6, 1], BeamConfig(2, 2, 5))
    np.testing.assert_array_equal(full.overflow, 0)
    assert full.length[0] > 5
    assert got.overflow[0] + got.length[0] == full.length[0]
    assert got.overflow[1] == 0


def test_a_bad_option_names_itself():
    with pytest.raises(ValueError, match="beam_size must be at least 1, got 0"):
        BeamConfig(beam_size=0)
    with pytest.raises(ValueError, match="prune_gap must be positive, got 0"):
        BeamConfig(prune_gap=0)
