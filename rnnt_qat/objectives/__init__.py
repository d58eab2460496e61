"""What training minimises: one objective a file (``training.objective.Objective``)."""

from rnnt_qat.objectives.cell_growth import CellGrowth
from rnnt_qat.objectives.ctc import CTC
from rnnt_qat.objectives.encoder_distillation import EncoderDistillation
from rnnt_qat.objectives.transducer import Transducer

__all__ = ["CTC", "CellGrowth", "EncoderDistillation", "Transducer"]
