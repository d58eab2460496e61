"""Arm Ethos-U with LiteRT's fused integer LSTM: int8 in and out, int16 cell and gates."""

from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AcceleratorSpec, AddGrid, TensorSpec
from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.gemmlowp import GemmlowpActivation
from rnnt_qat.fixedpoint.int8_table import Int8Table
from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.fixedpoint.requantize import (
    DoubleRoundingRescale,
    ShiftRescale,
    SingleRoundingRescale,
)
from rnnt_qat.fixedpoint.rounding import Rounding

_DENSE = SingleRoundingRescale(24, Rounding.AWAY)

ETHOS_U_8X8_16 = AcceleratorSpec(
    name="ethos_u_8x8_16",
    description=(
        "UNIDIRECTIONAL_SEQUENCE_LSTM, FULLY_CONNECTED, ADD and TANH of LiteRT's reference kernels "
        "on int8, with LiteRT's 16-bit cell and gates inside the LSTM (lstm_eval.cc, "
        "LstmStepInteger8x8_16). TFLM looks the gates up in a table instead of evaluating them, "
        "and rounds FULLY_CONNECTED twice. There is no other recurrent cell: neither TFLM nor "
        "Vela takes the fused LSTM's projection, and int8 and int16 do not meet elsewhere."
    ),
    tensors=(
        TensorSpec(Role.INPUT, QFormat(8)),
        TensorSpec(Role.WEIGHT, QFormat(8, narrow=True), power_of_two=False),
        TensorSpec(Role.GATE_PRE, QFormat(16, 12), rescale=DoubleRoundingRescale()),
        TensorSpec(
            Role.GATE,
            QFormat(16, 15),
            sigmoid=GemmlowpActivation(Function.SIGMOID),
            tanh=GemmlowpActivation(Function.TANH),
        ),
        TensorSpec(Role.CELL, QFormat(16, 11), rescale=ShiftRescale()),
        TensorSpec(Role.HIDDEN, QFormat(8, 7), rescale=DoubleRoundingRescale()),
        TensorSpec(Role.PROJECTION, QFormat(8), rescale=_DENSE),
        TensorSpec(Role.JOINT_PRE, QFormat(8)),
        TensorSpec(Role.JOINT_HIDDEN, QFormat(8, 7), tanh=Int8Table(Function.TANH)),
        TensorSpec(Role.LOGITS, QFormat(8), rescale=_DENSE),
    ),
    move_rescale=DoubleRoundingRescale(),
    add_grid=AddGrid.FINEST,
    fused_gate_sum=True,
)
