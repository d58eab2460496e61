from .bootstrap import (
    BootstrapConfig as BootstrapConfig,
)
from .bootstrap import (
    Interval as Interval,
)
from .bootstrap import (
    PairedDifference as PairedDifference,
)
from .bootstrap import (
    error_rate_interval as error_rate_interval,
)
from .bootstrap import (
    paired_difference as paired_difference,
)
from .latency import (
    Percentiles as Percentiles,
)
from .latency import (
    RealTimeFactor as RealTimeFactor,
)
from .latency import (
    emission_delays_ms as emission_delays_ms,
)
from .latency import (
    emission_times_ms as emission_times_ms,
)
from .latency import (
    measure_real_time_factor as measure_real_time_factor,
)
from .wer import (
    ErrorCounts as ErrorCounts,
)
from .wer import (
    character_errors as character_errors,
)
from .wer import (
    word_errors as word_errors,
)
