import numpy as np
import pytest

from rnnt_qat.metrics.bootstrap import BootstrapConfig, error_rate_interval, paired_difference
from rnnt_qat.metrics.wer import ErrorCounts


def corpus(seed, rate, size=400, words=10):
    rng = np.random.default_rng(seed)
    return [ErrorCounts(int(e), 0, 0, words) for e in rng.binomial(words, rate, size)]


def test_interval_matches_the_binomial_spread():
    interval = error_rate_interval(corpus(0, 0.2))
    spread = 1.96 * np.sqrt(0.2 * 0.8 / 4000)
    assert interval.low < interval.value < interval.high
    np.testing.assert_allclose(interval.high - interval.low, 2 * spread, rtol=0.15)


def test_covers_the_truth_about_as_often_as_it_says():
    config = BootstrapConfig(samples=300, confidence=0.9)
    intervals = [error_rate_interval(corpus(seed, 0.3, size=60), config) for seed in range(200)]
    covered = np.mean([i.low <= 0.3 <= i.high for i in intervals])
    assert 0.82 < covered < 0.97


def test_same_seed_same_interval():
    counts = corpus(1, 0.1)
    assert error_rate_interval(counts) == error_rate_interval(counts)
    other = error_rate_interval(counts, BootstrapConfig(seed=1))
    assert other != error_rate_interval(counts)
    assert other.value == error_rate_interval(counts).value


def test_the_paired_difference_is_sharper_than_two_intervals():
    baseline = corpus(2, 0.3)
    # One error fewer in a fifth of the utterances.
    system = [
        ErrorCounts(c.substitutions - (i % 5 == 0 and c.substitutions > 0), 0, 0, 10)
        for i, c in enumerate(baseline)
    ]
    paired = paired_difference(baseline, system)
    assert paired.significant
    assert paired.difference.high < 0
    assert paired.probability_of_improvement == 1
    apart = error_rate_interval(baseline)
    assert paired.difference.high - paired.difference.low < (apart.high - apart.low) / 2


def test_equal_systems_do_not_differ():
    counts = corpus(3, 0.2)
    paired = paired_difference(counts, counts)
    assert paired.difference.value == paired.difference.low == paired.difference.high == 0
    assert paired.probability_of_improvement == 0.5
    assert not paired.significant


def test_empty_references_and_no_references():
    interval = error_rate_interval([ErrorCounts(0, 0, 1, 0), ErrorCounts(1, 0, 0, 4)])
    assert interval.value == 0.5
    assert np.isfinite([interval.low, interval.high]).all()
    with pytest.raises(ValueError, match="hold no word"):
        error_rate_interval([ErrorCounts(0, 0, 1, 0)])


def test_other_utterances_are_refused():
    with pytest.raises(ValueError, match="same utterances"):
        paired_difference(corpus(0, 0.1, size=3), corpus(0, 0.1, size=4))
