from .freeze import exportable_chip
from .lstm_graphs import dense_graph, fused_lstm, lstm_step_16x8
from .rnnt_graphs import EVERYWHERE, Boundary, encoder_chunk, joint_step, prediction_step
from .serving_program import export_serving_program
from .tflite_graph import GraphBuilder

__all__ = [
    "EVERYWHERE",
    "Boundary",
    "GraphBuilder",
    "dense_graph",
    "encoder_chunk",
    "export_serving_program",
    "exportable_chip",
    "fused_lstm",
    "joint_step",
    "lstm_step_16x8",
    "prediction_step",
]
