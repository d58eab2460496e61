from .chip_compilation import (
    CompiledRecognizer as CompiledRecognizer,
)
from .chip_compilation import (
    compile_recognizer as compile_recognizer,
)
from .cpu_costs import (
    CORTEX_M55 as CORTEX_M55,
)
from .cpu_costs import (
    FALLBACK_OPERATORS as FALLBACK_OPERATORS,
)
from .cpu_costs import (
    CpuCosts as CpuCosts,
)
from .cpu_costs import (
    call_time as call_time,
)
from .cpu_costs import (
    sensitivity as sensitivity,
)
from .engine_latency import DecodeCounts as DecodeCounts
from .latency_plots import (
    ParetoPoint as ParetoPoint,
)
from .latency_plots import (
    plot_pareto as plot_pareto,
)
from .latency_plots import (
    plot_sensitivity as plot_sensitivity,
)
from .latency_report import (
    LatencyRow as LatencyRow,
)
from .latency_report import (
    WordErrors as WordErrors,
)
from .latency_report import (
    latency_row as latency_row,
)
from .latency_report import (
    latency_table as latency_table,
)
from .latency_report import (
    ratio_table as ratio_table,
)
from .latency_report import (
    verification_table as verification_table,
)
from .latency_report import (
    write_csv as write_csv,
)
from .systems import Method as Method
from .systems import System as System
from .systems import describe as describe
from .vela import TARGETS as TARGETS
from .vela import NpuTarget as NpuTarget
