"""The plan of a run: its stages in order, and the networks that they run on.

A plan is a tuple of stages. The default one is float training, calibration and accelerator-aware
training (``default_stages``); others, such as 8-bit before 4-bit training, are other tuples.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from rnnt_qat.training import hooks
from rnnt_qat.training.hooks import Hook
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import (
    BoundStage,
    Calibration,
    RemoveUnits,
    RunningStage,
    Stage,
    TrainingStage,
)
from rnnt_qat.training.state import TrainState, copied
from rnnt_qat.training.task import FLOAT32, Removal, Task
from rnnt_qat.typing import PyTree

AnyTask = TypeVar("AnyTask", bound=Task)


def default_stages() -> tuple[Stage, ...]:
    """Returns float training, calibration and accelerator-aware training."""
    return (
        TrainingStage("float", 2000, FLOAT32),
        Calibration(),
        TrainingStage("aware", 1000, optimizer=OptimizerConfig(2e-4, warmup_steps=50)),
    )


def with_steps(stages: Iterable[Stage]) -> tuple[RunningStage, ...]:
    """Returns the stages with a nonzero number of steps, which are those that run."""
    return tuple(s for s in stages if s.steps and not isinstance(s, RemoveUnits))


@dataclasses.dataclass(frozen=True)
class Part(Generic[AnyTask]):
    """A stage of a plan with the network that it runs on.

    Attributes:
      stage: the stage.
      task: task of its network, which is smaller after a removal of units.
      removal: what is removed between the stage before and this one; None for nothing.
    """

    stage: RunningStage
    task: AnyTask
    removal: Removal | None


def parts(stages: Iterable[Stage], task: AnyTask) -> list[Part[AnyTask]]:
    """Returns the stages that run, each with its task.

    Args:
      stages: the plan.
      task: task of the first stage.
    """
    found: list[Part[AnyTask]] = []
    pruned_by: list[Hook] = []
    removal: Removal | None = None
    for stage in stages:
        if isinstance(stage, RemoveUnits):
            if pruned_by:
                task, removal = task.without_units(pruned_by)
                pruned_by = []
        elif stage.steps:
            found.append(Part(stage, task, removal))
            removal = None
            pruned_by += stage.hooks if isinstance(stage, TrainingStage) else ()
    return found


def bind(stages: Iterable[Stage], task: Task) -> tuple[BoundStage, ...]:
    """Returns the stages with a nonzero number of steps, bound to a task."""
    return bind_parts(parts(stages, task))


def bind_parts(parts: Iterable[Part]) -> tuple[BoundStage, ...]:
    """Returns the parts of a plan bound to their tasks."""
    bound: list[BoundStage] = []
    for part in parts:
        stage = part.stage.bind(part.task)
        if part.removal is not None:
            stage = _begun_without(part.removal, stage)
            bound[-1] = _checked_for(part.removal, bound[-1])
        bound.append(stage)
    return tuple(bound)


def check_stages(stages: Sequence[Stage], precision: str) -> None:
    """Checks that a plan can run.

    Args:
      stages: the plan.
      precision: the experiment's policy, used by stages with an empty ``precision``.

    Raises:
      ValueError: if two stages share a name, one trains under a policy without calibration, or
        there is nothing to remove units from or to go on with.
    """
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise ValueError(f"stages: {', '.join(names)}: every stage needs a name of its own")
    calibrated: str | None = None
    for place, stage in enumerate(stages):
        if isinstance(stage, RemoveUnits):
            _check_removal(stage, stages[:place], stages[place + 1 :])
            calibrated = None
            continue
        if not stage.steps:
            continue
        policy = stage.precision or precision
        if isinstance(stage, Calibration):
            calibrated = policy
        elif policy not in (FLOAT32, calibrated):
            raise ValueError(
                f"stages.{stage.name}.steps={stage.steps} needs ranges of {policy}: put a "
                "Calibration of that precision, with batches > 0, before it and after any removal "
                "of units (stages.calibration.batches in the usual plan)"
            )


def _check_removal(stage: RemoveUnits, before: Sequence[Stage], after: Sequence[Stage]) -> None:
    if not any(isinstance(other, TrainingStage) and other.hooks for other in before):
        raise ValueError(
            f"stages.{stage.name}: no stage before it has a hook that prunes units (UnitPruning)"
        )
    if not with_steps(after):
        raise ValueError(
            f"stages.{stage.name}: no stage after it goes on with the smaller network; put a "
            "TrainingStage or a Calibration with steps there"
        )


def _begun_without(removal: Removal, stage: BoundStage) -> BoundStage:
    """Returns a stage that begins with the removal of units."""

    def begin(state: TrainState, teacher_params: PyTree) -> TrainState:
        params = removal.remove(state.ema_params)
        smaller = dataclasses.replace(
            state, params=copied(params), ema_params=params, quant_stats={}
        )
        return stage.begin(smaller, teacher_params)

    return dataclasses.replace(stage, begin=begin)


def _checked_for(removal: Removal, stage: BoundStage) -> BoundStage:
    """Returns a stage that ends with an error if units could not be removed after it."""

    def check(state: TrainState) -> None:
        stage.check(state)
        removal.check(hooks.network(state.ema_params))

    return dataclasses.replace(stage, check=check)
