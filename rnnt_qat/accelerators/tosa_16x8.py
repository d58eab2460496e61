"""The integer profile of the Tensor Operator Set Architecture (TOSA), with 16-bit activations."""

from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AcceleratorSpec, AddGrid, TensorSpec
from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.dot import Accumulator
from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.fixedpoint.requantize import ShiftRescale, SingleRoundingRescale
from rnnt_qat.fixedpoint.rounding import Rounding
from rnnt_qat.fixedpoint.tosa_table import TosaTable

_CONV = SingleRoundingRescale(15, Rounding.UP)
_MUL = ShiftRescale(Rounding.TOSA_DOUBLE)

TOSA_16X8 = AcceleratorSpec(
    name="tosa_16x8",
    description=(
        "CONV2D of int16 by int8 in 48-bit sums, RESCALE, TABLE, ADD and MUL of TOSA 1.0, as Arm's "
        "converter lowers the 16x8 graphs of LiteRT to them. RESCALE of a 48-bit sum multiplies by "
        "15 bits and rounds once, ties up; of an int32 product it rounds doubly, which at a "
        "power-of-two ratio sends what lies one step below a tie up as well."
    ),
    tensors=(
        TensorSpec(Role.INPUT, QFormat(16)),
        TensorSpec(Role.WEIGHT, QFormat(8, narrow=True), power_of_two=False, scale_bits=15),
        TensorSpec(Role.GATE_PRE, QFormat(16, 12), rescale=_CONV),
        TensorSpec(
            Role.GATE,
            QFormat(16, 15),
            sigmoid=TosaTable(Function.SIGMOID),
            tanh=TosaTable(Function.TANH),
        ),
        TensorSpec(Role.CELL, QFormat(16, 11), rescale=_MUL),
        TensorSpec(Role.HIDDEN, QFormat(16, 15), rescale=_MUL),
        TensorSpec(Role.PROJECTION, QFormat(16, 12), rescale=_CONV),
        TensorSpec(Role.JOINT_PRE, QFormat(16, 12)),
        TensorSpec(Role.JOINT_HIDDEN, QFormat(16, 15), tanh=TosaTable(Function.TANH)),
        TensorSpec(Role.LOGITS, QFormat(16), rescale=_CONV),
    ),
    accumulator=Accumulator(bits=48),
    bias_bits=48,
    move_rescale=_MUL,
    add_grid=AddGrid.FINEST,
)
