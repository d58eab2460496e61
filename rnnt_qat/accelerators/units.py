"""Sigmoid and tanh units by name, and their adaptation to the formats they read and write."""

import re
from collections.abc import Iterable
from dataclasses import replace

from rnnt_qat.fixedpoint.activation import Activation, Function
from rnnt_qat.fixedpoint.gemmlowp import GemmlowpActivation
from rnnt_qat.fixedpoint.int8_table import Int8Table
from rnnt_qat.fixedpoint.interpolated_table import InterpolatedTable
from rnnt_qat.fixedpoint.litert_table import LitertTable
from rnnt_qat.fixedpoint.piecewise import HARD, PLAN, PiecewiseLinear
from rnnt_qat.fixedpoint.qformat import QFormat

_TABLE = re.compile(r"(table|nearest)(\d+)")
_ENTRIES = {2**bits: bits for bits in range(1, 13)}

UNIT_NAMES = (
    *(f"{kind}{entries}" for kind in ("table", "nearest") for entries in (64, 256, 512)),
    "plan",
    "hard",
    "litert",
    "gemmlowp",
    "int8",
)
"""Names of units.

``tableN`` interpolates between N entries (a power of two) and ``nearestN`` takes the nearest entry;
``plan`` has four line segments, ``hard`` is one clipped line; the others are units of LiteRT and
TFLM.
"""


def is_unit_name(name: str) -> bool:
    """Returns whether ``named_unit`` accepts the name."""
    table = _TABLE.fullmatch(name)
    return int(table[2]) in _ENTRIES if table else name in UNIT_NAMES


def named_unit(name: str, function: Function, output: QFormat) -> Activation:
    """Creates a unit by name.

    Args:
      name: a name for which ``is_unit_name`` holds.
      function: sigmoid or tanh.
      output: format of the result.

    Returns:
      The unit; ``fitted_unit`` sets the input range of its table.
    """
    table = _TABLE.fullmatch(name)
    if table:
        return InterpolatedTable(
            function,
            entries_bits=_ENTRIES[int(table[2])],
            range_bits=0,
            output=output,
            interpolate=table[1] == "table",
        )
    if name in ("plan", "hard"):
        return PiecewiseLinear(function, PLAN if name == "plan" else HARD, output)
    if name == "int8":
        return Int8Table(function, output)
    return LitertTable(function) if name == "litert" else GemmlowpActivation(function)


def fitted_unit(unit: Activation, output: QFormat, inputs: Iterable[QFormat]) -> Activation:
    """Adapts a unit to other formats.

    Args:
      unit: the unit. LiteRT's units have fixed formats and are returned unchanged; the chip rejects
        them if they do not fit.
      output: format of the result.
      inputs: formats that it reads; a table covers at least the widest.
    """
    if isinstance(unit, InterpolatedTable):
        reaches = [qformat.integer_bits for qformat in inputs if qformat.frac_bits is not None]
        return replace(unit, output=output, range_bits=max(unit.range_bits, *reaches, 0))
    if isinstance(unit, PiecewiseLinear | Int8Table):
        return replace(unit, output=output)
    return unit
