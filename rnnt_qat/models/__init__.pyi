from .binding import layer_sites as layer_sites
from .binding import require_every_rule_used as require_every_rule_used
from .bound_transducer import BoundTransducer as BoundTransducer
from .encoder import Encoder as Encoder
from .encoder import EncoderConfig as EncoderConfig
from .prediction import (
    LSTMPredictionConfig as LSTMPredictionConfig,
)
from .prediction import (
    StatelessPredictionConfig as StatelessPredictionConfig,
)
from .recurrent import (
    GRUConfig as GRUConfig,
)
from .recurrent import (
    LSTMConfig as LSTMConfig,
)
from .recurrent import (
    NormalizedConfig as NormalizedConfig,
)
from .recurrent import (
    ProjectedLSTMConfig as ProjectedLSTMConfig,
)
from .recurrent import (
    RecurrentConfig as RecurrentConfig,
)
from .rnnt import (
    RNNT as RNNT,
)
from .rnnt import (
    Lattice as Lattice,
)
from .rnnt import (
    RNNTConfig as RNNTConfig,
)
from .rnnt import (
    example_inputs as example_inputs,
)
from .serving_record import feature_size as feature_size
from .serving_record import serve_once as serve_once
