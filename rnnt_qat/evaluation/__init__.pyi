from .plots import (
    COLOURS,
    FAINT,
    INK,
    plot_emissions,
    plot_heat_map,
    plot_training_curves,
    plot_wer_bars,
)
from .report import by_test_set, compare, load_result, markdown_table, save_result, write_report
from .result import EvaluationResult, UtteranceResult
from .streaming_evaluator import EvaluationConfig, StreamingEvaluator

__all__ = [
    "COLOURS",
    "FAINT",
    "INK",
    "EvaluationConfig",
    "EvaluationResult",
    "StreamingEvaluator",
    "UtteranceResult",
    "by_test_set",
    "compare",
    "load_result",
    "markdown_table",
    "plot_emissions",
    "plot_heat_map",
    "plot_training_curves",
    "plot_wer_bars",
    "save_result",
    "write_report",
]
