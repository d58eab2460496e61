from .runtimes import LiteRt, Runtime, Tflm, check_loads
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
    "Runtime",
    "Tflm",
    "Traced",
    "TransducerRecognizer",
    "UtteranceFeatures",
    "Verification",
    "check_loads",
    "compare_traces",
    "differing_tokens",
    "first_differing_token",
    "verify",
]
