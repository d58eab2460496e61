from .cell_states import CELLS, CellStates
from .dense import Dense
from .embedding import Embedding
from .gru import GRU, GRUState
from .layer_norm import LayerNorm
from .lstm import LSTM
from .lstm_scan import LSTMState
from .projected_lstm import ProjectedLSTM, ProjectedLSTMState
from .streaming import StreamingLayer
from .temporal_gradient import TemporalGradient
from .time_reduction import TimeReduction

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "CellStates",
    "Dense",
    "Embedding",
    "GRUState",
    "LSTMState",
    "LayerNorm",
    "ProjectedLSTM",
    "ProjectedLSTMState",
    "StreamingLayer",
    "TemporalGradient",
    "TimeReduction",
]
