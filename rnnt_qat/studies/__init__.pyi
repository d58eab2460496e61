from .cells import Cell, cells_of, results_of
from .chip_comparison import compare_on_chips
from .chip_report import write_chip_report
from .chip_systems import ChipComparisonConfig, load_systems, require_a_chip
from .comparison import compare_recognizers, write_comparison
from .diagnosis import diagnose, write_diagnosis
from .grid import NOTES, Row, grid_rows, markdown_grid, pool, write_csv
from .precision_map import policies, write_map
from .sweep import FLOAT, SweepConfig, require_one_config

__all__ = [
    "FLOAT",
    "NOTES",
    "Cell",
    "ChipComparisonConfig",
    "Row",
    "SweepConfig",
    "cells_of",
    "compare_on_chips",
    "compare_recognizers",
    "diagnose",
    "grid_rows",
    "load_systems",
    "markdown_grid",
    "policies",
    "pool",
    "require_a_chip",
    "require_one_config",
    "results_of",
    "write_chip_report",
    "write_comparison",
    "write_csv",
    "write_diagnosis",
    "write_map",
]
