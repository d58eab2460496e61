"""A fixed-point accelerator of our own design."""

from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import AcceleratorSpec, AddGrid, Operator, TensorSpec
from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.interpolated_table import InterpolatedTable
from rnnt_qat.fixedpoint.qformat import Q0_7, Q0_15, QFormat
from rnnt_qat.fixedpoint.requantize import ShiftRescale

_SHIFT = ShiftRescale()


GENERIC_NNA = AcceleratorSpec(
    name="generic_nna",
    description=(
        "Our own design: the accelerator of Shakiah et al. (2022) is not public. Power-of-two "
        "scales throughout, so that requantization is one rounding shift; 8-bit weights and "
        "activations, 16-bit gates and cell, interpolated tables of 256 and 512 entries, LiteRT's "
        "integer layer normalization."
    ),
    tensors=(
        TensorSpec(Role.INPUT, QFormat(8)),
        TensorSpec(Role.WEIGHT, QFormat(8, narrow=True)),
        TensorSpec(Role.GATE_PRE, QFormat(16, 12), rescale=_SHIFT),
        TensorSpec(
            Role.GATE,
            Q0_15,
            sigmoid=InterpolatedTable(Function.SIGMOID, entries_bits=8, range_bits=3),
            tanh=InterpolatedTable(Function.TANH, entries_bits=9, range_bits=4),
        ),
        TensorSpec(Role.CELL, QFormat(16, 11), rescale=_SHIFT),
        TensorSpec(Role.HIDDEN, Q0_7, rescale=_SHIFT),
        TensorSpec(Role.MEMORY, QFormat(16, 14), rescale=_SHIFT),
        TensorSpec(Role.PROJECTED, QFormat(8), rescale=_SHIFT),
        TensorSpec(Role.NORMALIZED, QFormat(8), rescale=_SHIFT),
        TensorSpec(Role.PROJECTION, QFormat(16, 12), rescale=_SHIFT),
        TensorSpec(Role.JOINT_PRE, QFormat(16, 12)),
        TensorSpec(
            Role.JOINT_HIDDEN,
            Q0_7,
            tanh=InterpolatedTable(Function.TANH, entries_bits=8, range_bits=3, output=Q0_7),
        ),
        TensorSpec(Role.LOGITS, QFormat(16), rescale=_SHIFT),
    ),
    operators=frozenset(Operator),
    add_grid=AddGrid.RESULT,
)
