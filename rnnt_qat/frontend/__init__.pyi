from .frontend import Frontend as Frontend
from .frontend import FrontendConfig as FrontendConfig
from .log_mel import (
    MLPERF as MLPERF,
)
from .log_mel import (
    LogMelConfig as LogMelConfig,
)
from .log_mel import (
    mel_filterbank as mel_filterbank,
)
from .spec_augment import SpecAugmentConfig as SpecAugmentConfig
from .statistics import FeatureStats as FeatureStats
from .statistics import measure_stats as measure_stats
