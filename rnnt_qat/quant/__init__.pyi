from .ablation import parts as parts
from .audit import (
    Kind as Kind,
)
from .audit import (
    OffChip as OffChip,
)
from .audit import (
    off_chip_operators as off_chip_operators,
)
from .audit import (
    require_on_chip as require_on_chip,
)
from .diagnostics import (
    DIAGNOSTICS as DIAGNOSTICS,
)
from .diagnostics import (
    Diagnosis as Diagnosis,
)
from .diagnostics import (
    Tally as Tally,
)
from .diagnostics import (
    recording as recording,
)
from .diagnostics import (
    summarize as summarize,
)
from .diagnostics import (
    unrecorded as unrecorded,
)
from .grammar import slug as slug
from .grammar import split_policies as split_policies
from .nna_operators import NnaOperators as NnaOperators
from .nna_precision import OnAccelerator as OnAccelerator
from .operators import (
    Addends as Addends,
)
from .operators import (
    FloatOperators as FloatOperators,
)
from .operators import (
    OperatorSet as OperatorSet,
)
from .operators import (
    Value as Value,
)
from .policies import (
    FLOAT32 as FLOAT32,
)
from .policies import (
    build_policy as build_policy,
)
from .policies import (
    parse_policy as parse_policy,
)
from .policies import (
    policy_by_name as policy_by_name,
)
from .policies import (
    policy_choices as policy_choices,
)
from .policies import (
    spec_of as spec_of,
)
from .policy import PrecisionPolicy as PrecisionPolicy
from .policy_spec import Change as Change
from .policy_spec import PolicySpec as PolicySpec
from .precision import Float32 as Float32
from .precision import IntegerMatmul as IntegerMatmul
from .precision import Precision as Precision
from .qtensor import QTensor as QTensor
from .qtensor import dequantize as dequantize
from .qtensor import map_values as map_values
from .quantized_module import (
    RANGES as RANGES,
)
from .quantized_module import (
    QuantizedModule as QuantizedModule,
)
from .quantized_module import (
    calibrated_ranges as calibrated_ranges,
)
from .quantized_module import (
    check_calibrated as check_calibrated,
)
from .recorded import (
    Call as Call,
)
from .recorded import (
    Layer as Layer,
)
from .recorded import (
    Path as Path,
)
from .recorded import (
    Record as Record,
)
from .recorded import (
    features_reader as features_reader,
)
from .recorded import (
    parameter_path as parameter_path,
)
from .recorded import (
    parameters as parameters,
)
from .recorded import (
    table_readers as table_readers,
)
from .recorded import (
    written_by as written_by,
)
from .scales import bias_range as bias_range
from .sites import Sites as Sites
from .straight_through import quantize_straight_through as quantize_straight_through
