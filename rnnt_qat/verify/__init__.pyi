from .call_replay import RecordedPlayer, compare_calls
from .runtimes import LiteRt, Runtime, Tflm, check_loads
from .tosa import TosaError, TosaReference
from .trace import Traced, compare_traces
from .transducer_replay import TransducerRecognizer
from .verification import (
    Agreement,
    UtteranceFeatures,
    Verification,
    differing_tokens,
    first_differing_token,
    verify,
)

__all__ = [
    "Agreement",
    "LiteRt",
    "RecordedPlayer",
    "Runtime",
    "Tflm",
    "TosaError",
    "TosaReference",
    "Traced",
    "TransducerRecognizer",
    "UtteranceFeatures",
    "Verification",
    "check_loads",
    "compare_calls",
    "compare_traces",
    "differing_tokens",
    "first_differing_token",
    "verify",
]
