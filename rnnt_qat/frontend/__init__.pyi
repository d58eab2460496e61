from .frontend import Frontend, FrontendConfig
from .log_mel import MLPERF, LogMelConfig, mel_filterbank
from .spec_augment import SpecAugmentConfig
from .statistics import FeatureStats, measure_stats

__all__ = [
    "MLPERF",
    "FeatureStats",
    "Frontend",
    "FrontendConfig",
    "LogMelConfig",
    "SpecAugmentConfig",
    "measure_stats",
    "mel_filterbank",
]
