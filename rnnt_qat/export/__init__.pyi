from .freeze import exportable_chip as exportable_chip
from .lstm_graphs import (
    dense_graph as dense_graph,
)
from .lstm_graphs import (
    fused_lstm as fused_lstm,
)
from .lstm_graphs import (
    lstm_step_16x8 as lstm_step_16x8,
)
from .rnnt_graphs import (
    EVERYWHERE as EVERYWHERE,
)
from .rnnt_graphs import (
    Boundary as Boundary,
)
from .rnnt_graphs import (
    encoder_chunk as encoder_chunk,
)
from .rnnt_graphs import (
    joint_step as joint_step,
)
from .rnnt_graphs import (
    prediction_step as prediction_step,
)
from .serving_program import export_serving_program as export_serving_program
from .tflite_graph import GraphBuilder as GraphBuilder
