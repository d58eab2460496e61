from .activation import Activation as Activation
from .activation import Function as Function
from .division import divide as divide
from .dot import Accumulator as Accumulator
from .dot import argmax as argmax
from .dot import dot_int16 as dot_int16
from .gemmlowp import GemmlowpActivation as GemmlowpActivation
from .int8_table import Int8Table as Int8Table
from .interpolated_table import InterpolatedTable as InterpolatedTable
from .litert_table import LitertTable as LitertTable
from .multiplier import exponent_of as exponent_of
from .multiplier import multiplier_of as multiplier_of
from .piecewise import HARD as HARD
from .piecewise import PLAN as PLAN
from .piecewise import PiecewiseLinear as PiecewiseLinear
from .qformat import Q0_7 as Q0_7
from .qformat import Q0_15 as Q0_15
from .qformat import QFormat as QFormat
from .qformat import quantize as quantize
from .requantize import (
    DoubleRoundingRescale as DoubleRoundingRescale,
)
from .requantize import (
    Ratio as Ratio,
)
from .requantize import (
    Rescale as Rescale,
)
from .requantize import (
    ShiftRescale as ShiftRescale,
)
from .requantize import (
    SingleRoundingRescale as SingleRoundingRescale,
)
from .requantize import (
    Sum as Sum,
)
from .requantize import (
    TosaShiftRescale as TosaShiftRescale,
)
from .requantize import (
    shift_left as shift_left,
)
from .requantize import (
    shift_right as shift_right,
)
from .rounding import Rounding as Rounding
from .rounding import round_real as round_real
from .saturation import (
    Overflow as Overflow,
)
from .saturation import (
    fit as fit,
)
from .saturation import (
    int_range as int_range,
)
from .saturation import (
    saturate as saturate,
)
from .saturation import (
    saturating_add as saturating_add,
)
from .tosa_table import TosaTable as TosaTable
from .wide import Wide as Wide
