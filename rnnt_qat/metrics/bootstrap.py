"""Confidence intervals of error rates, by bootstrap over utterances.

Utterances are resampled and not words, because errors within an utterance are correlated. Two
systems are compared on the same samples, which removes the difficulty of the utterances from the
difference.

Reference: Bisani and Ney, "Bootstrap Estimates for Confidence Intervals in ASR Performance
Evaluation" (ICASSP 2004).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rnnt_qat.metrics.wer import ErrorCounts
from rnnt_qat.typing import Float


@dataclasses.dataclass(frozen=True)
class BootstrapConfig:
    """Options of the bootstrap.

    Attributes:
      samples: number of bootstrap samples of the corpus.
      confidence: fraction of the samples inside the percentile interval, in (0, 1).
      seed: seed of the resampling; equal seeds draw the same utterances for every system.
    """

    samples: int = 2000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self):
        if self.samples < 1 or not 0 < self.confidence < 1:
            raise ValueError(f"samples must be at least 1 and confidence in (0, 1): {self}")


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval.

    Attributes:
      value: estimate on the corpus itself.
      low: lower end of the interval.
      high: upper end of the interval.
    """

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """Difference between a system and a baseline on the same utterances.

    Attributes:
      difference: system minus baseline error rate with its interval; negative is an improvement.
      probability_of_improvement: fraction of the samples in which the system makes fewer errors;
        ties count half.
    """

    difference: Interval
    probability_of_improvement: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.difference.low > 0 or self.difference.high < 0


def error_rate_interval(
    counts: Sequence[ErrorCounts], config: BootstrapConfig = BootstrapConfig()
) -> Interval:
    """Computes the corpus error rate and its confidence interval.

    Args:
      counts: error counts of each utterance.
      config: options of the bootstrap.

    Raises:
      ValueError: the references contain no words.
    """
    return _interval(ErrorCounts.total(counts).rate, _drawn_rates(config, counts)[0], config)


def paired_difference(
    baseline: Sequence[ErrorCounts],
    system: Sequence[ErrorCounts],
    config: BootstrapConfig = BootstrapConfig(),
) -> PairedDifference:
    """Computes the difference of two corpus error rates, ``system - baseline``.

    Args:
      baseline: error counts of the baseline, per utterance.
      system: error counts of the system, for the same utterances in the same order.
      config: options of the bootstrap.

    Raises:
      ValueError: the reference lengths differ, or the references contain no words.
    """
    if [c.reference_length for c in baseline] != [c.reference_length for c in system]:
        raise ValueError(
            f"a paired difference needs the same utterances in the same order; got {len(baseline)} "
            f"and {len(system)} with {ErrorCounts.total(baseline).reference_length} and "
            f"{ErrorCounts.total(system).reference_length} reference units"
        )
    value = ErrorCounts.total(system).rate - ErrorCounts.total(baseline).rate
    rates = _drawn_rates(config, baseline, system)
    difference = rates[1] - rates[0]
    improved = np.mean(difference < 0) + 0.5 * np.mean(difference == 0)
    return PairedDifference(_interval(value, difference, config), float(improved))


def _drawn_rates(
    config: BootstrapConfig, *systems: Sequence[ErrorCounts]
) -> Float[np.ndarray, "systems samples"]:
    """Computes the error rates of resampled corpora, with the same samples for every system."""
    units = np.array([c.reference_length for c in systems[0]])
    errors = np.array([[c.errors for c in counts] for counts in systems])  # [systems, utterances]
    # Drawing n utterances with replacement is equivalent to drawing the count of each.
    rng = np.random.default_rng(config.seed)
    drawn = rng.multinomial(units.size, np.full(units.size, 1 / units.size), size=config.samples)
    # A sample of only empty references has no rate; this occurs only in tiny corpora.
    drawn = drawn[drawn @ units > 0]
    return (errors @ drawn.T) / (drawn @ units)


def _interval(
    value: float, drawn: Float[np.ndarray, "samples"], config: BootstrapConfig
) -> Interval:
    tail = (1 - config.confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
