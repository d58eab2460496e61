"""Arm Ethos-U, operator by operator: int16 activations, int8 weights."""

from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AcceleratorSpec, AddGrid, TensorSpec
from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.dot import Accumulator
from rnnt_qat.fixedpoint.litert_table import LitertTable
from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.fixedpoint.requantize import DoubleRoundingRescale, SingleRoundingRescale
from rnnt_qat.fixedpoint.rounding import Rounding

_DENSE = SingleRoundingRescale(15, Rounding.AWAY)
_MUL = DoubleRoundingRescale()

ETHOS_U_16X8 = AcceleratorSpec(
    name="ethos_u_16x8",
    description=(
        "FULLY_CONNECTED, ADD, MUL, LOGISTIC and TANH of LiteRT's reference kernels on int16 "
        "with int8 weights. Weight scales have 15 significant bits: with them LiteRT's "
        "requantization in double precision and TFLM's by a 16-bit multiplier are one exact "
        "product and one rounding each; they differ only where a negative sum falls on a tie "
        "(away from zero in LiteRT, up in TFLM)."
    ),
    tensors=(
        TensorSpec(Role.INPUT, QFormat(16)),
        TensorSpec(Role.WEIGHT, QFormat(8, narrow=True), power_of_two=False, scale_bits=15),
        TensorSpec(Role.GATE_PRE, QFormat(16, 12), rescale=_DENSE),
        TensorSpec(
            Role.GATE,
            QFormat(16, 15),
            sigmoid=LitertTable(Function.SIGMOID),
            tanh=LitertTable(Function.TANH),
        ),
        TensorSpec(Role.CELL, QFormat(16, 11), rescale=_MUL),
        TensorSpec(Role.HIDDEN, QFormat(16, 15), rescale=_MUL),
        TensorSpec(Role.MEMORY, QFormat(16, 14), rescale=_MUL),
        TensorSpec(Role.PROJECTED, QFormat(16), rescale=_DENSE),
        TensorSpec(Role.PROJECTION, QFormat(16, 12), rescale=_DENSE),
        TensorSpec(Role.JOINT_PRE, QFormat(16, 12)),
        TensorSpec(Role.JOINT_HIDDEN, QFormat(16, 15), tanh=LitertTable(Function.TANH)),
        TensorSpec(Role.LOGITS, QFormat(16), rescale=_DENSE),
    ),
    accumulator=Accumulator(bits=40),
    bias_bits=40,
    move_rescale=DoubleRoundingRescale(),
    add_grid=AddGrid.FINEST,
)
