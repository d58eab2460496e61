from .activation import Activation, Function
from .division import divide
from .dot import Accumulator, argmax, dot_int16
from .gemmlowp import GemmlowpActivation
from .int8_table import Int8Table
from .interpolated_table import InterpolatedTable
from .litert_table import LitertTable
from .multiplier import exponent_of, multiplier_of
from .piecewise import HARD, PLAN, PiecewiseLinear
from .qformat import Q0_7, Q0_15, QFormat, quantize
from .requantize import (
    DoubleRoundingRescale,
    Ratio,
    Rescale,
    ShiftRescale,
    SingleRoundingRescale,
    Sum,
    TosaShiftRescale,
    shift_left,
    shift_right,
)
from .rounding import Rounding, round_real
from .saturation import Overflow, fit, int_range, saturate, saturating_add
from .tosa_table import TosaTable
from .wide import Wide

__all__ = [
    "HARD",
    "PLAN",
    "Q0_7",
    "Q0_15",
    "Accumulator",
    "Activation",
    "DoubleRoundingRescale",
    "Function",
    "GemmlowpActivation",
    "Int8Table",
    "InterpolatedTable",
    "LitertTable",
    "Overflow",
    "PiecewiseLinear",
    "QFormat",
    "Ratio",
    "Rescale",
    "Rounding",
    "ShiftRescale",
    "SingleRoundingRescale",
    "Sum",
    "TosaShiftRescale",
    "TosaTable",
    "Wide",
    "argmax",
    "divide",
    "dot_int16",
    "exponent_of",
    "fit",
    "int_range",
    "multiplier_of",
    "quantize",
    "round_real",
    "saturate",
    "saturating_add",
    "shift_left",
    "shift_right",
]
