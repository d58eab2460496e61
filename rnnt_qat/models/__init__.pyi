from .binding import layer_sites, require_every_rule_used
from .bound_transducer import BoundTransducer
from .encoder import Encoder, EncoderConfig
from .prediction import LSTMPredictionConfig, StatelessPredictionConfig
from .recurrent import GRUConfig, LSTMConfig, NormalizedConfig, ProjectedLSTMConfig, RecurrentConfig
from .rnnt import RNNT, Lattice, RNNTConfig, example_inputs
from .serving_record import feature_size, serve_once

__all__ = [
    "RNNT",
    "BoundTransducer",
    "Encoder",
    "EncoderConfig",
    "GRUConfig",
    "LSTMConfig",
    "LSTMPredictionConfig",
    "Lattice",
    "NormalizedConfig",
    "ProjectedLSTMConfig",
    "RNNTConfig",
    "RecurrentConfig",
    "StatelessPredictionConfig",
    "example_inputs",
    "feature_size",
    "layer_sites",
    "require_every_rule_used",
    "serve_once",
]
