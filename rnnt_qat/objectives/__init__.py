"""Training objectives, which implement ``training.objective.Objective``."""

from rnnt_qat.objectives.cell_growth import CellGrowth
from rnnt_qat.objectives.ctc import CTC
from rnnt_qat.objectives.encoder_distillation import EncoderDistillation
from rnnt_qat.objectives.lattice_distillation import LatticeDistillation
from rnnt_qat.objectives.recurrent_states import RecurrentStates
from rnnt_qat.objectives.transducer import Transducer

__all__ = [
    "CTC",
    "CellGrowth",
    "EncoderDistillation",
    "LatticeDistillation",
    "RecurrentStates",
    "Transducer",
]
