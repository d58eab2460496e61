"""The result of a stage."""

import dataclasses

from rnnt_qat.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class BestState:
    """The state of lowest WER of a stage.

    Attributes:
      stage: name of the stage.
      step: number of batches processed.
      wer: word error rate; None if it was not measured.
      state: training state as global arrays.
      precision: the stage's ``TrainingStage.precision``.
      trained: whether the stage trained parameters under that policy.
    """

    stage: str
    step: int
    wer: float | None
    state: TrainState
    precision: str
    trained: bool
