from .beam import BeamConfig
from .chunk_driver import ChunkDriver
from .endpoint import EndpointConfig, UtteranceFrames
from .greedy import GreedyConfig
from .hypothesis import Hypothesis
from .live_driver import SEGMENT_END, Emitted, LiveDriver
from .search import SearchConfig
from .transducer import Transducer
from .words import Word, WordBuilder

__all__ = [
    "SEGMENT_END",
    "BeamConfig",
    "ChunkDriver",
    "Emitted",
    "EndpointConfig",
    "GreedyConfig",
    "Hypothesis",
    "LiveDriver",
    "SearchConfig",
    "Transducer",
    "UtteranceFrames",
    "Word",
    "WordBuilder",
]
