"""The integer profile of the Tensor Operator Set Architecture (TOSA), with 16-bit activations."""

from dataclasses import replace

from rnnt_qat.accelerators.ethos_u_16x8 import ETHOS_U_16X8
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import WRITTEN_BY_DOT, TensorSpec
from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.dot import Accumulator
from rnnt_qat.fixedpoint.requantize import SingleRoundingRescale, TosaShiftRescale
from rnnt_qat.fixedpoint.rounding import Rounding
from rnnt_qat.fixedpoint.tosa_table import TosaTable

_CONV = SingleRoundingRescale(15, Rounding.UP)
_MUL = TosaShiftRescale()
_NOT_COMPARED = (Role.MEMORY, Role.PROJECTED)
"""Roles of cells that were not compared with the reference model: the chip refuses them."""


def _lowered(tensor: TensorSpec) -> TensorSpec:
    """A tensor of LiteRT's graph as Arm's converter lowers it: the same format, other operators."""
    rescale = _CONV if tensor.role in WRITTEN_BY_DOT else _MUL
    return replace(
        tensor,
        rescale=tensor.rescale and rescale,
        sigmoid=tensor.sigmoid and TosaTable(Function.SIGMOID),
        tanh=tensor.tanh and TosaTable(Function.TANH),
    )


TOSA_16X8 = replace(
    ETHOS_U_16X8,
    name="tosa_16x8",
    description=(
        "CONV2D of int16 by int8 in 48-bit sums, RESCALE, TABLE, ADD and MUL of TOSA 1.0, as Arm's "
        "converter lowers the 16x8 graphs of LiteRT to them. RESCALE of a 48-bit sum multiplies by "
        "15 bits and rounds once, ties up; of an int32 product it rounds doubly, which at a "
        "power-of-two ratio sends what lies one step below a tie up as well."
    ),
    tensors=tuple(_lowered(t) for t in ETHOS_U_16X8.tensors if t.role not in _NOT_COMPARED),
    accumulator=Accumulator(bits=48),
    bias_bits=48,
    move_rescale=_MUL,
)
