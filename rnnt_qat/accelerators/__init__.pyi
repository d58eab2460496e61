from .design import FIELDS, GROUPS, FieldValues, Value, changed_chip
from .ethos_u_8x8_16 import ETHOS_U_8X8_16
from .ethos_u_8x8_16_tflm import ETHOS_U_8X8_16_TFLM
from .ethos_u_16x8 import ETHOS_U_16X8
from .generic_nna import GENERIC_NNA
from .generic_nna_crude import GENERIC_NNA_CRUDE
from .kernels import Accumulated, Scale, Stored
from .roles import Role
from .spec import OPERANDS, AcceleratorSpec, Grain, Operator, TensorSpec
from .tosa_16x8 import TOSA_16X8

__all__ = [
    "ETHOS_U_8X8_16",
    "ETHOS_U_8X8_16_TFLM",
    "ETHOS_U_16X8",
    "FIELDS",
    "GENERIC_NNA",
    "GENERIC_NNA_CRUDE",
    "GROUPS",
    "OPERANDS",
    "TOSA_16X8",
    "AcceleratorSpec",
    "Accumulated",
    "FieldValues",
    "Grain",
    "Operator",
    "Role",
    "Scale",
    "Stored",
    "TensorSpec",
    "Value",
    "changed_chip",
]
