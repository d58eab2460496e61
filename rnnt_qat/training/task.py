"""Interfaces between the stages and a task: a model with its losses and evaluations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

from rnnt_qat.training.hooks import Hook
from rnnt_qat.training.objective import Objectives
from rnnt_qat.training.update import LossFunction
from rnnt_qat.typing import PyTree

FLOAT32 = "float32"
"""Name of the floating-point precision."""

EvaluationProgress = Callable[[int, int, int], None]
"""Gets the numbers of decoded batches, of all batches, and of programs still to be compiled."""

Evaluator = Callable[[PyTree, PyTree, EvaluationProgress], Mapping[str, float]]
"""Function from ``(params, quant_stats)``, global arrays, to metrics by name, including ``wer``."""


class Teacher(Protocol):
    """A floating-point model whose outputs objectives may read."""

    @property
    def params(self) -> PyTree | None:
        """The teacher's parameters; None for those that the stage starts from."""

    def __call__(self, params: PyTree, batch: PyTree) -> Any:
        """Returns the teacher's outputs for a batch."""


class ModelUnderPolicy(Protocol):
    """The model under one precision policy."""

    @property
    def evaluate(self) -> Evaluator | None:
        """Evaluator of parameters and ranges, with progress; None if nothing can be evaluated."""

    @property
    def range_rate(self) -> float | None:
        """Learning rate of ranges as a multiple of the network's; None if none are trained."""

    def loss(self, objectives: Objectives, teacher: Teacher | None = None) -> LossFunction:
        """Returns the objectives as a function of the parameters.

        Args:
          objectives: the objectives to minimise.
          teacher: model whose outputs the objectives read, run with ``Frozen.teacher``.
        """

    def observe(
        self, params: PyTree, quant_stats: PyTree, batch: PyTree, operands: bool = False
    ) -> PyTree:
        """Returns ``quant_stats`` updated with a batch's ranges; see ``ObserveFunction``.

        Args:
          params: the network's parameters.
          quant_stats: the ranges before the batch.
          batch: a batch of the training iterator.
          operands: whether to record what ``corrected`` reads as well.
        """

    def empty_ranges(self, operands: bool = False) -> PyTree:
        """Returns ``quant_stats`` before any observation; see ``observe``."""

    def corrected(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """Returns the network's parameters with corrected biases; traced.

        Args:
          params: the network's parameters.
          quant_stats: ranges observed with ``operands``.
        """

    def trainable(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """Returns the parameters to train: ``AwareParams`` if ranges are trained."""

    def ranges(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """Returns ``quant_stats`` with any trained ranges in it."""

    def check_ranges(self, params: PyTree, quant_stats: PyTree) -> None:
        """Raises ValueError, naming the sites, if a range is not positive."""


class Removal(Protocol):
    """The removal of pruned units between two stages."""

    def remove(self, params: PyTree) -> PyTree:
        """Returns the parameters of the smaller network; traced."""

    def check(self, params: PyTree) -> None:
        """Raises an error if the smaller network would compute something else."""


class Task(Protocol):
    """A model that can be bound to any precision policy."""

    @property
    def objectives(self) -> Objectives:
        """Objectives of stages that name none of their own."""

    def under(self, precision: str) -> ModelUnderPolicy:
        """Returns the model under a policy; an empty name selects the experiment's."""

    def teacher(self, name: str) -> Teacher:
        """Returns the teacher with this name; see ``TrainingStage.teacher``."""

    def without_units(self, hooks: Sequence[Hook]) -> tuple[Self, Removal]:
        """Returns the task of the network without pruned units, and their removal.

        Args:
          hooks: the hooks of all stages since the last removal, at least one.
        """
