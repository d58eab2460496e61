from .best_state import BestState
from .checkpoints import (
    WER,
    CheckpointConfig,
    Checkpoints,
    ConfigMismatchError,
    differing_fields,
    require_same_config,
)
from .compilation import CompiledUpdate
from .loop import LoopConfig, Trainer
from .metrics import read_records
from .objective import Objectives, WeightedObjective, total
from .optimizer import OptimizerConfig
from .plan import bind, check_stages, default_stages, with_steps
from .pruning import CubicSparsity, MagnitudePruning
from .rehearsal import Rehearsal, rehearse
from .run_folder import has_checkpoints
from .signals import StoppedBySignal
from .stages import Calibration, RemoveUnits, Stage, TrainingStage
from .state import AwareParams, TrainState, parameter_count
from .task import FLOAT32, EvaluationProgress, Evaluator, Teacher
from .update import Frozen, LossFunction, RowLosses

__all__ = [
    "FLOAT32",
    "WER",
    "AwareParams",
    "BestState",
    "Calibration",
    "CheckpointConfig",
    "Checkpoints",
    "CompiledUpdate",
    "ConfigMismatchError",
    "CubicSparsity",
    "EvaluationProgress",
    "Evaluator",
    "Frozen",
    "LoopConfig",
    "LossFunction",
    "MagnitudePruning",
    "Objectives",
    "OptimizerConfig",
    "Rehearsal",
    "RemoveUnits",
    "RowLosses",
    "Stage",
    "StoppedBySignal",
    "Teacher",
    "TrainState",
    "Trainer",
    "TrainingStage",
    "WeightedObjective",
    "bind",
    "check_stages",
    "default_stages",
    "differing_fields",
    "has_checkpoints",
    "parameter_count",
    "read_records",
    "rehearse",
    "require_same_config",
    "total",
    "with_steps",
]
