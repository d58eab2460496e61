"""The stages of accelerator-aware training: float, calibrate, train through the chip, freeze."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol

import jax
from jax.sharding import Mesh

from rnnt_qat.training.optimizer import OptimizerConfig, make_optimizer
from rnnt_qat.training.state import TrainState
from rnnt_qat.training.update import (
    LossFunction,
    RowLosses,
    Update,
    calibration_update,
    training_update,
)
from rnnt_qat.typing import PRNGKey, PyTree

Evaluator = Callable[[PyTree, PyTree], Mapping[str, float]]
"""``(params, quant_stats)``, global arrays, to metrics by name; one of them is ``wer``."""


class Task(Protocol):
    """A model with its losses and evaluators, as the stages see it."""

    @property
    def evaluate_float(self) -> Evaluator | None:
        """Measures parameters in floating point."""

    @property
    def evaluate_aware(self) -> Evaluator | None:
        """Measures parameters and ranges in the accelerator's arithmetic."""

    def float_loss(
        self, params: PyTree, quant_stats: PyTree, batch: PyTree, key: PRNGKey
    ) -> RowLosses:
        """A ``LossFunction`` in floating point, in the dtype of the parameters it is given."""

    def aware_loss(
        self, params: PyTree, quant_stats: PyTree, batch: PyTree, key: PRNGKey
    ) -> RowLosses:
        """A ``LossFunction`` through the accelerator's arithmetic."""

    def observe(self, params: PyTree, quant_stats: PyTree, batch: PyTree) -> PyTree:
        """An ``ObserveFunction``: a float forward pass that takes its ranges in."""

    def empty_ranges(self) -> PyTree:
        """``quant_stats`` before anything was observed."""

    @property
    def range_rate(self) -> float | None:
        """Learning rate of ranges as a multiple of the network's; None where none are trained."""

    def aware_params(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """What aware training begins with: ``AwareParams`` where it trains ranges, else params."""

    def check_ranges(self, params: PyTree, quant_stats: PyTree) -> None:
        """Raises ValueError, naming the sites, if a range is not positive."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A stage bound to a task: what the loop runs.

    Attributes:
      name: of its checkpoints, records and progress line.
      steps: batches it consumes.
      begin: the state of the stage before, made ready for this one.
      aware: whether its outcome is to be computed with in the accelerator's arithmetic.
      make_update: ``(first_step, log_every, mesh)`` to the stage's update.
      evaluate: measures a state's averaged parameters; None where nothing is to be measured.
      check: raises if the state that this stage ends with cannot be used.
    """

    name: str
    steps: int
    aware: bool
    begin: Callable[[TrainState], TrainState]
    make_update: Callable[[int, int, Mesh], Update]
    evaluate: Evaluator | None = None
    check: Callable[[TrainState], None] = lambda state: None


@dataclasses.dataclass(frozen=True)
class FloatTraining:
    """Training in floating point.

    Attributes:
      steps: batches; 0 leaves the stage out.
      optimizer: how parameters follow gradients.
      bfloat16: compute in bfloat16; parameters, their averages and the loss stay float32.
    """

    steps: int = 2000
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    bfloat16: bool = False

    def program(self, task: Task) -> Program:
        """The stage bound to a task."""
        loss = _in_bfloat16(task.float_loss) if self.bfloat16 else task.float_loss
        return Program(
            name="float",
            steps=self.steps,
            aware=False,
            begin=lambda state: _begin_training(state, self.optimizer),
            make_update=lambda first_step, log_every, mesh: training_update(
                loss,
                self.optimizer,
                mesh,
                first_step=first_step,
                steps=self.steps,
                log_every=log_every,
            ),
            evaluate=task.evaluate_float,
        )


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Observation of the ranges that the accelerator's formats need.

    Attributes:
      batches: how many are observed; 0 leaves the stage out.
    """

    batches: int = 20

    def program(self, task: Task) -> Program:
        """The stage bound to a task; evaluated as the model that calibration alone gives."""
        return Program(
            name="calibration",
            steps=self.batches,
            aware=True,
            begin=lambda state: dataclasses.replace(
                state, opt_state=(), quant_stats=task.empty_ranges()
            ),
            make_update=lambda _first_step, log_every, _mesh: calibration_update(
                task.observe, task.float_loss, log_every=log_every
            ),
            evaluate=task.evaluate_aware,
            check=lambda state: task.check_ranges(state.ema_params, state.quant_stats),
        )


@dataclasses.dataclass(frozen=True)
class AwareTraining:
    """Accelerator-aware training: the forward pass is the chip's (Shakiah et al. 2022).

    Attributes:
      steps: batches; 0 leaves the stage out.
      optimizer: usually a tenth of the float stage's learning rate.
    """

    steps: int = 1000
    optimizer: OptimizerConfig = dataclasses.field(
        default_factory=lambda: OptimizerConfig(learning_rate=2e-4, warmup_steps=50)
    )

    def program(self, task: Task) -> Program:
        """The stage bound to a task."""
        return Program(
            name="aware",
            steps=self.steps,
            aware=True,
            begin=lambda state: _begin_training(
                dataclasses.replace(
                    state, ema_params=task.aware_params(state.ema_params, state.quant_stats)
                ),
                self.optimizer,
                task.range_rate,
            ),
            make_update=lambda first_step, log_every, mesh: training_update(
                task.aware_loss,
                self.optimizer,
                mesh,
                first_step=first_step,
                steps=self.steps,
                log_every=log_every,
                range_rate=task.range_rate,
            ),
            evaluate=task.evaluate_aware,
            check=lambda state: task.check_ranges(state.ema_params, state.quant_stats),
        )


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """The stages of a run, in order; the run ends by freezing its best evaluated state.

    Attributes:
      float_training: pretraining in floating point.
      calibration: ranges of the formats.
      aware_training: fine-tuning through the accelerator.
    """

    float_training: FloatTraining = dataclasses.field(default_factory=FloatTraining)
    calibration: Calibration = dataclasses.field(default_factory=Calibration)
    aware_training: AwareTraining = dataclasses.field(default_factory=AwareTraining)

    def __post_init__(self):
        if self.aware_training.steps and not self.calibration.batches:
            raise ValueError(
                "stages.aware_training.steps > 0 needs ranges: set stages.calibration.batches > 0"
            )

    def programs(self, task: Task) -> tuple[Program, ...]:
        """The stages that have steps, bound to a task."""
        stages = (self.float_training, self.calibration, self.aware_training)
        return tuple(p for p in (stage.program(task) for stage in stages) if p.steps > 0)


def _begin_training(
    state: TrainState, optimizer: OptimizerConfig, range_rate: float | None = None
) -> TrainState:
    """A fresh optimizer around the averaged parameters: those that were evaluated."""
    return dataclasses.replace(
        state,
        params=jax.tree.map(lambda x: x.copy(), state.ema_params),
        opt_state=make_optimizer(optimizer, range_rate).init(state.ema_params),
    )


def _in_bfloat16(loss: LossFunction) -> LossFunction:
    """The loss of bfloat16 copies of the parameters; gradients come back in float32."""

    def cast_loss(params, quant_stats, batch, key):
        half = jax.tree.map(lambda p: p.astype("bfloat16"), params)
        return loss(half, quant_stats, batch, key)

    return cast_loss
