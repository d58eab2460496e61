from .checkpoints import (
    WER as WER,
)
from .checkpoints import (
    CheckpointConfig as CheckpointConfig,
)
from .checkpoints import (
    Checkpoints as Checkpoints,
)
from .checkpoints import (
    ConfigMismatchError as ConfigMismatchError,
)
from .checkpoints import (
    differing_fields as differing_fields,
)
from .checkpoints import (
    require_same_config as require_same_config,
)
from .compilation import CompiledUpdate as CompiledUpdate
from .loop import (
    BestState as BestState,
)
from .loop import (
    LoopConfig as LoopConfig,
)
from .loop import (
    Trainer as Trainer,
)
from .loop import (
    has_checkpoints as has_checkpoints,
)
from .metrics import read_records as read_records
from .objective import (
    Objectives as Objectives,
)
from .objective import (
    WeightedObjective as WeightedObjective,
)
from .objective import (
    total as total,
)
from .optimizer import OptimizerConfig as OptimizerConfig
from .signals import StoppedBySignal as StoppedBySignal
from .stages import (
    Calibration as Calibration,
)
from .stages import (
    Stage as Stage,
)
from .stages import (
    TrainingStage as TrainingStage,
)
from .stages import (
    bind as bind,
)
from .stages import (
    check_stages as check_stages,
)
from .stages import (
    default_stages as default_stages,
)
from .stages import (
    with_steps as with_steps,
)
from .state import (
    AwareParams as AwareParams,
)
from .state import (
    TrainState as TrainState,
)
from .state import (
    parameter_count as parameter_count,
)
from .task import FLOAT32 as FLOAT32
from .task import Evaluator as Evaluator
from .task import Teacher as Teacher
from .update import Frozen as Frozen
from .update import LossFunction as LossFunction
from .update import RowLosses as RowLosses
