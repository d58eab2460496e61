from .arithmetic import Arithmetic
from .artefact import MANIFEST, Artefact, ArtefactError, load, save
from .integers import EncoderIntegers, JointIntegers, PredictionIntegers, RnntIntegers
from .layer_integers import (
    GATE,
    GATE_NAMES,
    GATE_PRE,
    DenseIntegers,
    LstmIntegers,
    RecurrentIntegers,
)
from .layer_player import LstmState, initial_lstm_state, initial_state, play_lstm
from .player import BLANK_ID, Player, StreamingRecognizer, Transcript, greedy, quantize_features
from .recorded_layer import INPUT, Constant, Node, NodeKind, RecordedLayer, StateTensor
from .runtime_arithmetic import LITERT, TFLM, RuntimeArithmetic
from .tensor_format import TensorFormat
from .tosa_arithmetic import TOSA, TosaArithmetic

__all__ = [
    "BLANK_ID",
    "GATE",
    "GATE_NAMES",
    "GATE_PRE",
    "INPUT",
    "LITERT",
    "MANIFEST",
    "TFLM",
    "TOSA",
    "Arithmetic",
    "Artefact",
    "ArtefactError",
    "Constant",
    "DenseIntegers",
    "EncoderIntegers",
    "JointIntegers",
    "LstmIntegers",
    "LstmState",
    "Node",
    "NodeKind",
    "Player",
    "PredictionIntegers",
    "RecordedLayer",
    "RecurrentIntegers",
    "RnntIntegers",
    "RuntimeArithmetic",
    "StateTensor",
    "StreamingRecognizer",
    "TensorFormat",
    "TosaArithmetic",
    "Transcript",
    "greedy",
    "initial_lstm_state",
    "initial_state",
    "load",
    "play_lstm",
    "quantize_features",
    "save",
]
