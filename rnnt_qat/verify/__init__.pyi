from .runtimes import LiteRt as LiteRt
from .runtimes import Runtime as Runtime
from .runtimes import Tflm as Tflm
from .runtimes import check_loads as check_loads
from .trace import Traced as Traced
from .trace import compare_traces as compare_traces
from .transducer_replay import TransducerRecognizer as TransducerRecognizer
from .verification import (
    Agreement as Agreement,
)
from .verification import (
    UtteranceFeatures as UtteranceFeatures,
)
from .verification import (
    Verification as Verification,
)
from .verification import (
    differing_tokens as differing_tokens,
)
from .verification import (
    first_differing_token as first_differing_token,
)
from .verification import (
    verify as verify,
)
