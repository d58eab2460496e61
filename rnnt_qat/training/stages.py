"""Stages of a run, each with a precision policy, objectives and hooks; ``plan`` orders them."""

import dataclasses
import functools
from collections.abc import Callable

import jax
from jax.sharding import Mesh

from rnnt_qat.training import hooks
from rnnt_qat.training.hooks import Hook
from rnnt_qat.training.objective import Objectives, term_names
from rnnt_qat.training.optimizer import OptimizerConfig, make_optimizer
from rnnt_qat.training.state import IntervalSums, TrainState, copied
from rnnt_qat.training.task import FLOAT32, Evaluator, ModelUnderPolicy, Task
from rnnt_qat.training.update import LossFunction, Update, calibration_update, training_update
from rnnt_qat.typing import PyTree


@dataclasses.dataclass(frozen=True)
class BoundStage:
    """A stage bound to a task, as run by the training loop.

    Attributes:
      name: name in checkpoints, records and the progress line.
      steps: number of batches.
      precision: name of the policy that its result computes under; empty for the experiment's.
      trains: whether it trains parameters under that policy.
      begin: maps the previous stage's final state and the teacher's parameters to the first state
        of this stage.
      end: maps the last state to one without stage-specific fields: ``params`` are the network's,
        and trained ranges are in ``quant_stats``.
      make_update: maps ``(first_step, log_every, mesh)`` to the stage's update.
      teacher: parameters of the teacher, on the host; None if there is no teacher or if it is the
        network that the stage starts from.
      evaluate: evaluates a state's averaged parameters; None to skip evaluation.
      check: raises an error if the stage's final state is unusable.
      patience: see ``TrainingStage.patience``.
      settled_after: number of its steps after which a state may be its best.
      finish: maps the state after the last batch to the one that is evaluated and saved; traced.
        None leaves it. A stage with patience has none.
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
    patience: int = 0
    settled_after: int = 0
    finish: Callable[[TrainState], TrainState] | None = None


@dataclasses.dataclass(frozen=True)
class TrainingStage:
    """A stage of gradient-based training.

    Attributes:
      name: name of the stage in configs, of its checkpoints and of its model directory.
      steps: number of batches; 0 omits the stage.
      precision: name of the policy of the forward pass; empty for the experiment's ``precision``.
        Under a chip's policy this is accelerator-aware training (Shakiah et al. 2022). Any policy
        but ``float32`` requires an earlier calibration under the same policy.
      optimizer: hyperparameters of the optimizer.
      objectives: objectives to minimise; empty for the experiment's ``objectives``.
      hooks: functions applied to the parameters after each update.
      teacher: model directory of a teacher for objectives that need one, or ``self`` for the
        network that the stage starts from; empty for none. The teacher computes in floating point
        on the student's features.
      bfloat16: whether to compute in bfloat16; parameters, their averages and the loss stay
        float32.
      patience: number of evaluations without a lower validation WER after which the stage ends and
        its other steps are left out; 0 runs all steps. Schedules of rates and weights are those of
        all steps.
    """

    name: str
    steps: int = 1000
    precision: str = ""
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    objectives: Objectives = ()
    hooks: tuple[Hook, ...] = ()
    teacher: str = ""
    bfloat16: bool = False
    patience: int = 0

    def __post_init__(self):
        if self.steps < 0:
            raise ValueError(f"{self.name}: steps is {self.steps}; 0 leaves the stage out")
        if self.patience < 0:
            raise ValueError(f"{self.name}: patience is {self.patience}; it must not be < 0")
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
                # Continue from the averaged parameters, since those were evaluated.
                params=copied(params),
                ema_params=params,
                opt_state=self._optimizer(model).init(params),
                hooks=hooks.begin(self.hooks, params),
                teacher=copied(state.ema_params) if own_teacher else teacher_params,
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
            patience=self.patience,
            settled_after=max((hook.settled_after for hook in self.hooks), default=0),
        )

    def _optimizer(self, model: ModelUnderPolicy):
        return make_optimizer(self.optimizer, self.steps, model.range_rate)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A stage that observes the ranges of a policy's formats and leaves the kernels unchanged.

    Its evaluation measures post-training quantization, without labels.

    Attributes:
      name: name of the stage in configs, of its checkpoints and of its model directory.
      batches: number of batches to observe; 0 omits the stage.
      precision: name of the policy; empty for the experiment's ``precision``.
      bias_correction: whether the biases take back, after the last batch, the mean error that
        rounding a kernel adds to its products (Nagel et al. 2019, section 4.2).
    """

    name: str = "calibration"
    batches: int = 20
    precision: str = ""
    bias_correction: bool = False

    def __post_init__(self):
        if self.batches < 0:
            raise ValueError(f"{self.name}: batches is {self.batches}; 0 leaves the stage out")

    @property
    def steps(self) -> int:
        """Number of batches, under the name that all stages share."""
        return self.batches

    def bind(self, task: Task) -> BoundStage:
        """Returns the stage bound to a task."""
        model = task.under(self.precision)
        described = tuple(o for o in task.objectives if not o.objective.needs_teacher)
        operands = self.bias_correction

        def begin(state: TrainState, teacher_params: PyTree) -> TrainState:
            del teacher_params
            return dataclasses.replace(
                state,
                opt_state=(),
                quant_stats=model.empty_ranges(operands),
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
                functools.partial(model.observe, operands=operands),
                task.under(FLOAT32).loss(described),
                log_every=log_every,
            ),
            teacher=None,
            evaluate=model.evaluate,
            check=_check_ranges(model),
            # The biases before the end are not those that were asked for.
            settled_after=self.steps if operands else 0,
            finish=functools.partial(_correct_biases, model) if operands else None,
        )


@dataclasses.dataclass(frozen=True)
class RemoveUnits:
    """The boundary of two stages at which pruned units are removed: parameters get smaller.

    The next stage starts from the smaller network, without ranges. It computes what the larger one
    does, with less memory and time. What hooks of stages without steps would prune is not removed.

    Attributes:
      name: name in configs.
    """

    name: str = "remove_units"

    @property
    def steps(self) -> int:
        """0: it is no stage that runs."""
        return 0


RunningStage = TrainingStage | Calibration
Stage = RunningStage | RemoveUnits


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


def _correct_biases(model: ModelUnderPolicy, state: TrainState) -> TrainState:
    return dataclasses.replace(
        state,
        params=model.corrected(state.params, state.quant_stats),
        ema_params=model.corrected(state.ema_params, state.quant_stats),
    )


def _check_ranges(model: ModelUnderPolicy) -> Callable[[TrainState], None]:
    return lambda state: model.check_ranges(state.ema_params, state.quant_stats)


def _in_bfloat16(loss: LossFunction) -> LossFunction:
    """Returns the loss with parameters cast to bfloat16; gradients remain float32."""

    def cast_loss(params, frozen, batch, step, key):
        half = jax.tree.map(lambda p: p.astype("bfloat16"), params)
        return loss(half, frozen, batch, step, key)

    return cast_loss
