from .chip_compilation import CompiledRecognizer, compile_recognizer
from .cpu_costs import CORTEX_M55, FALLBACK_OPERATORS, CpuCosts, call_time, sensitivity
from .engine_latency import DecodeCounts
from .latency_plots import ParetoPoint, plot_pareto, plot_sensitivity
from .latency_report import (
    LatencyRow,
    WordErrors,
    latency_row,
    latency_table,
    ratio_table,
    verification_table,
    write_csv,
)
from .systems import Method, System, describe
from .targets import TARGETS, NpuTarget

__all__ = [
    "CORTEX_M55",
    "FALLBACK_OPERATORS",
    "TARGETS",
    "CompiledRecognizer",
    "CpuCosts",
    "DecodeCounts",
    "LatencyRow",
    "Method",
    "NpuTarget",
    "ParetoPoint",
    "System",
    "WordErrors",
    "call_time",
    "compile_recognizer",
    "describe",
    "latency_row",
    "latency_table",
    "plot_pareto",
    "plot_sensitivity",
    "ratio_table",
    "sensitivity",
    "verification_table",
    "write_csv",
]
