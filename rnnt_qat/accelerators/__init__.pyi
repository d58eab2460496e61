from .design import (
    FIELDS as FIELDS,
)
from .design import (
    GROUPS as GROUPS,
)
from .design import (
    FieldValues as FieldValues,
)
from .design import (
    Value as Value,
)
from .design import (
    changed_chip as changed_chip,
)
from .ethos_u_8x8_16 import ETHOS_U_8X8_16 as ETHOS_U_8X8_16
from .ethos_u_8x8_16_tflm import ETHOS_U_8X8_16_TFLM as ETHOS_U_8X8_16_TFLM
from .ethos_u_16x8 import ETHOS_U_16X8 as ETHOS_U_16X8
from .generic_nna import GENERIC_NNA as GENERIC_NNA
from .generic_nna_crude import GENERIC_NNA_CRUDE as GENERIC_NNA_CRUDE
from .kernels import Accumulated as Accumulated
from .kernels import Scale as Scale
from .kernels import Stored as Stored
from .roles import Role as Role
from .spec import (
    OPERANDS as OPERANDS,
)
from .spec import (
    AcceleratorSpec as AcceleratorSpec,
)
from .spec import (
    Grain as Grain,
)
from .spec import (
    Operator as Operator,
)
from .spec import (
    TensorSpec as TensorSpec,
)
from .tosa_16x8 import TOSA_16X8 as TOSA_16X8
