from .ablation import ablations
from .audit import Kind, OffChip, off_chip_operators, require_on_chip
from .diagnostics import DIAGNOSTICS, Diagnosis, Tally, recording, summarize, unrecorded
from .grammar import slug, split_policies
from .nna_operators import NnaOperators
from .nna_precision import OnAccelerator
from .operators import Addends, FloatOperators, OperatorSet, Value
from .policies import FLOAT32, build_policy, parse_policy, policy_by_name, policy_choices, spec_of
from .policy import PrecisionPolicy
from .policy_spec import Change, PolicySpec
from .precision import Float32, IntegerMatmul, Precision
from .qtensor import QTensor, dequantize, map_values
from .quantized_module import QUANT_STATS, QuantizedModule, calibrated_ranges, check_calibrated
from .recorded import (
    Call,
    Layer,
    Path,
    Record,
    features_reader,
    parameter_path,
    parameters,
    table_readers,
    written_by,
)
from .scales import bias_range
from .sites import Sites
from .straight_through import quantize_straight_through

__all__ = [
    "DIAGNOSTICS",
    "FLOAT32",
    "QUANT_STATS",
    "Addends",
    "Call",
    "Change",
    "Diagnosis",
    "Float32",
    "FloatOperators",
    "IntegerMatmul",
    "Kind",
    "Layer",
    "NnaOperators",
    "OffChip",
    "OnAccelerator",
    "OperatorSet",
    "Path",
    "PolicySpec",
    "Precision",
    "PrecisionPolicy",
    "QTensor",
    "QuantizedModule",
    "Record",
    "Sites",
    "Tally",
    "Value",
    "ablations",
    "bias_range",
    "build_policy",
    "calibrated_ranges",
    "check_calibrated",
    "dequantize",
    "features_reader",
    "map_values",
    "off_chip_operators",
    "parameter_path",
    "parameters",
    "parse_policy",
    "policy_by_name",
    "policy_choices",
    "quantize_straight_through",
    "recording",
    "require_on_chip",
    "slug",
    "spec_of",
    "split_policies",
    "summarize",
    "table_readers",
    "unrecorded",
    "written_by",
]
