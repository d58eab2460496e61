"""A fixed-point accelerator of our own design."""

from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AcceleratorSpec, AddGrid, TensorSpec
from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.interpolated_table import InterpolatedTable
from rnnt_qat.fixedpoint.qformat import QFormat
from rnnt_qat.fixedpoint.requantize import ShiftRescale

_GATE = QFormat(16, 15)
_SHIFT = ShiftRescale()


def _table(function: Function, input_range_bits: int, output: QFormat) -> InterpolatedTable:
    return InterpolatedTable(function, range_bits=input_range_bits, output=output)


GENERIC_NNA = AcceleratorSpec(
    name="generic_nna",
    description=(
        "Our own design: the accelerator of Shakiah et al. (2022) is not public. Power-of-two "
        "scales throughout, so that requantization is one rounding shift; 8-bit weights and "
        "activations, 16-bit gates and cell, 256-entry interpolated tables."
    ),
    tensors=(
        TensorSpec(Role.INPUT, QFormat(8)),
        TensorSpec(Role.WEIGHT, QFormat(8, narrow=True)),
        TensorSpec(Role.GATE_PRE, QFormat(16, 12), rescale=_SHIFT),
        TensorSpec(
            Role.GATE,
            _GATE,
            sigmoid=_table(Function.SIGMOID, 3, _GATE),
            tanh=_table(Function.TANH, 4, _GATE),
        ),
        TensorSpec(Role.CELL, QFormat(16, 11), rescale=_SHIFT),
        TensorSpec(Role.HIDDEN, QFormat(8, 7), rescale=_SHIFT),
        TensorSpec(Role.PROJECTION, QFormat(16, 12), rescale=_SHIFT),
        TensorSpec(Role.JOINT_PRE, QFormat(16, 12)),
        TensorSpec(Role.JOINT_HIDDEN, QFormat(8, 7), tanh=_table(Function.TANH, 3, QFormat(8, 7))),
        TensorSpec(Role.LOGITS, QFormat(16), rescale=_SHIFT),
    ),
    add_grid=AddGrid.FINEST,
)
