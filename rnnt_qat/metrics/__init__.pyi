from .bootstrap import (
    BootstrapConfig,
    Interval,
    PairedDifference,
    error_rate_interval,
    paired_difference,
)
from .latency import (
    Percentiles,
    RealTimeFactor,
    emission_delays_ms,
    emission_times_ms,
    measure_real_time_factor,
)
from .wer import ErrorCounts, character_errors, word_errors

__all__ = [
    "BootstrapConfig",
    "ErrorCounts",
    "Interval",
    "PairedDifference",
    "Percentiles",
    "RealTimeFactor",
    "character_errors",
    "emission_delays_ms",
    "emission_times_ms",
    "error_rate_interval",
    "measure_real_time_factor",
    "paired_difference",
    "word_errors",
]
