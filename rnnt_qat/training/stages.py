"""Stages: a run is a tuple of them, each with a precision policy, objectives and hooks.

The plan of accelerator-aware training is float training, calibration, training through the chip
(``default_stages``). Other plans are other tuples: an 8-bit model on the way to a 4-bit one, say.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence

import jax
from jax.sharding import Mesh

from rnnt_qat.training import hooks
from rnnt_qat.training.hooks import Hook
from rnnt_qat.training.objective import Objectives, term_names
from rnnt_qat.training.optimizer import OptimizerConfig, make_optimizer
from rnnt_qat.training.state import IntervalSums, TrainState
from rnnt_qat.training.task import FLOAT32, Evaluator, ModelUnderPolicy, Task
from rnnt_qat.training.update import LossFunction, Update, calibration_update, training_update
from rnnt_qat.typing import PyTree


@dataclasses.dataclass(frozen=True)
class BoundStage:
    """A stage bound to a task: what the loop runs.

    Attributes:
      name: of its checkpoints, records and progress line.
      steps: batches it consumes.
      precision: name of the policy under which its outcome is computed; empty: the experiment's.
      trains: whether it changes parameters through that policy.
      begin: ``(state, teacher)``: what the stage before ended with, made ready for this one.
      end: the last state without what is this stage's alone: the parameters are the network's, and
        ranges that were trained are in ``quant_stats``.
      make_update: ``(first_step, log_every, mesh)`` to the stage's update.
      teacher: parameters of its teacher, on the host; None: it has none, or its own first ones.
      evaluate: measures a state's averaged parameters; None where nothing is to be measured.
      check: raises if the state that this stage ends with cannot be used.
    """

    name: str
    steps: int
    precision: str
    trains: bool
    begin: Callable[[TrainState, PyTree], TrainState]
    end: Callable[[TrainState], TrainState]
    make_update: Callable[[int, int, Mesh], Update]
    teacher: PyTree | None
    evaluate: Evaluator | None
    check: Callable[[TrainState], None]


@dataclasses.dataclass(frozen=True)
class TrainingStage:
    """Training by gradients.

    Attributes:
      name: what addresses the stage in a config, and names its checkpoints and model directory.
      steps: batches; 0 leaves the stage out.
      precision: name of the policy that the forward pass computes under; empty: the experiment's
        ``precision``. Under a chip's policy this is accelerator-aware training (Shakiah et al.
        2022). Any but ``float32`` needs a calibration under the same policy before it.
      optimizer: how parameters follow gradients.
      objectives: what is minimised; empty: the experiment's ``objectives``.
      hooks: what is done to the parameters after each update.
      teacher: a recognizer that computes in floating point on the same features beside the
        student, for objectives that read it: a model directory, or ``self`` for the network that
        the stage starts from; empty: none.
      bfloat16: compute in bfloat16; parameters, their averages and the loss stay float32.
    """

    name: str
    steps: int = 1000
    precision: str = ""
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    objectives: Objectives = ()
    hooks: tuple[Hook, ...] = ()
    teacher: str = ""
    bfloat16: bool = False

    def __post_init__(self):
        if self.steps < 0:
            raise ValueError(f"{self.name}: steps is {self.steps}; 0 leaves the stage out")
        if self.bfloat16 and self.precision != FLOAT32:
            raise ValueError(
                f"{self.name}: bfloat16=True is for precision='{FLOAT32}': the arithmetic of other "
                "policies is exact in float32 alone"
            )
        for hook in self.hooks if self.steps else ():
            hook.check(self.steps)

    def bind(self, task: Task) -> BoundStage:
        """Returns the stage bound to a task."""
        model, objectives = task.under(self.precision), self.objectives or task.objectives
        teacher = task.teacher(self.teacher) if self.teacher else None
        loss = model.loss(objectives, teacher)
        loss = _in_bfloat16(loss) if self.bfloat16 else loss

        def begin(state: TrainState, teacher_params: PyTree) -> TrainState:
            params = model.trainable(state.ema_params, state.quant_stats)
            own_teacher = teacher is not None and teacher.params is None
            return dataclasses.replace(
                state,
                # The averaged parameters are those that were evaluated.
                params=_copied(params),
                ema_params=params,
                opt_state=self._optimizer(model).init(params),
                hooks=hooks.begin(self.hooks, params),
                teacher=_copied(state.ema_params) if own_teacher else teacher_params,
                interval=IntervalSums.zero(term_names(objectives)),
            )

        return BoundStage(
            name=self.name,
            steps=self.steps,
            precision=self.precision,
            trains=True,
            begin=begin,
            end=functools.partial(_end, model),
            make_update=lambda first_step, log_every, mesh: training_update(
                loss,
                self.optimizer,
                mesh,
                first_step=first_step,
                steps=self.steps,
                log_every=log_every,
                range_rate=model.range_rate,
                hooks=self.hooks,
            ),
            teacher=None if teacher is None else teacher.params,
            evaluate=model.evaluate,
            check=_check_ranges(model),
        )

    def _optimizer(self, model: ModelUnderPolicy):
        return make_optimizer(self.optimizer, self.steps, model.range_rate)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Observation of the ranges that a policy's formats need; no parameter changes.

    It is evaluated as the model that calibration alone gives.

    Attributes:
      name: as of a ``TrainingStage``.
      batches: how many are observed; 0 leaves the stage out.
      precision: name of the policy; empty: the experiment's ``precision``.
    """

    name: str = "calibration"
    batches: int = 20
    precision: str = ""

    def __post_init__(self):
        if self.batches < 0:
            raise ValueError(f"{self.name}: batches is {self.batches}; 0 leaves the stage out")

    @property
    def steps(self) -> int:
        """Batches."""
        return self.batches

    def bind(self, task: Task) -> BoundStage:
        """Returns the stage bound to a task."""
        model = task.under(self.precision)
        described = tuple(o for o in task.objectives if not o.objective.needs_teacher)

        def begin(state: TrainState, teacher_params: PyTree) -> TrainState:
            del teacher_params
            return dataclasses.replace(
                state,
                opt_state=(),
                quant_stats=model.empty_ranges(),
                interval=IntervalSums.zero(term_names(described)),
            )

        return BoundStage(
            name=self.name,
            steps=self.steps,
            precision=self.precision,
            trains=False,
            begin=begin,
            end=functools.partial(_end, model),
            make_update=lambda _first_step, log_every, _mesh: calibration_update(
                model.observe, task.under(FLOAT32).loss(described), log_every=log_every
            ),
            teacher=None,
            evaluate=model.evaluate,
            check=_check_ranges(model),
        )


Stage = TrainingStage | Calibration


def default_stages() -> tuple[Stage, ...]:
    """Returns float training, calibration and accelerator-aware training."""
    return (
        TrainingStage("float", 2000, FLOAT32),
        Calibration(),
        TrainingStage("aware", 1000, optimizer=OptimizerConfig(2e-4, warmup_steps=50)),
    )


def with_steps(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """Returns the stages that have steps: those that are run."""
    return tuple(stage for stage in stages if stage.steps)


def bind(stages: Iterable[Stage], task: Task) -> tuple[BoundStage, ...]:
    """Returns the stages that have steps, bound to a task."""
    return tuple(stage.bind(task) for stage in with_steps(stages))


def check_stages(stages: Sequence[Stage], precision: str) -> None:
    """Refuses a plan that cannot run.

    Args:
      stages: the plan.
      precision: the experiment's, that of stages which name none.

    Raises:
      ValueError: two stages share a name, or one trains under formats that nothing calibrated.
    """
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise ValueError(f"stages: {', '.join(names)}: every stage needs a name of its own")
    calibrated: str | None = None
    for stage in with_steps(stages):
        policy = stage.precision or precision
        if isinstance(stage, Calibration):
            calibrated = policy
        elif policy not in (FLOAT32, calibrated):
            raise ValueError(
                f"stages.{stage.name}.steps={stage.steps} needs ranges of {policy}: put a "
                "Calibration of that precision, with batches > 0, before it "
                "(stages.calibration.batches in the usual plan)"
            )


def _copied(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: x.copy(), tree)  # donation needs buffers of its own


def _end(model: ModelUnderPolicy, state: TrainState) -> TrainState:
    return dataclasses.replace(
        state,
        params=hooks.network(state.params),
        ema_params=hooks.network(state.ema_params),
        quant_stats=model.ranges(state.ema_params, state.quant_stats),
        opt_state=(),
        hooks=(),
        teacher=(),
    )


def _check_ranges(model: ModelUnderPolicy) -> Callable[[TrainState], None]:
    return lambda state: model.check_ranges(state.ema_params, state.quant_stats)


def _in_bfloat16(loss: LossFunction) -> LossFunction:
    """The loss of bfloat16 copies of the parameters; gradients come back in float32."""

    def cast_loss(params, frozen, batch, step, key):
        half = jax.tree.map(lambda p: p.astype("bfloat16"), params)
        return loss(half, frozen, batch, step, key)

    return cast_loss
