"""``ethos_u_8x8_16`` with the rounding of TensorFlow Lite for Microcontrollers (TFLM)."""

from dataclasses import replace

from rnnt_qat.accelerators.ethos_u_8x8_16 import ETHOS_U_8X8_16
from rnnt_qat.accelerators.roles import Role
from rnnt_qat.accelerators.spec import TensorSpec
from rnnt_qat.fixedpoint.activation import Function
from rnnt_qat.fixedpoint.litert_table import LitertTable
from rnnt_qat.fixedpoint.requantize import DoubleRoundingRescale


def _as_tflm(tensor: TensorSpec) -> TensorSpec:
    if tensor.role is Role.GATE:
        sigmoid, tanh = LitertTable(Function.SIGMOID), LitertTable(Function.TANH)
        return replace(tensor, sigmoid=sigmoid, tanh=tanh)
    return tensor if tensor.rescale is None else replace(tensor, rescale=DoubleRoundingRescale())


ETHOS_U_8X8_16_TFLM = replace(
    ETHOS_U_8X8_16,
    name="ethos_u_8x8_16_tflm",
    description=(
        "The same layers in TFLM: gates are looked up, not evaluated; every product is rescaled by "
        "a multiplier with two roundings; the recurrent product saturates before it is added."
    ),
    tensors=tuple(_as_tflm(tensor) for tensor in ETHOS_U_8X8_16.tensors),
    fused_gate_sum=False,
)
