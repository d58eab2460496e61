"""A task: a model with its data's losses and evaluations, as the stages see it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rnnt_qat.training.objective import Objectives
from rnnt_qat.training.update import LossFunction
from rnnt_qat.typing import PyTree

FLOAT32 = "float32"
"""The precision that computes in floating point."""

Evaluator = Callable[[PyTree, PyTree], Mapping[str, float]]
"""``(params, quant_stats)``, global arrays, to metrics by name; one of them is ``wer``."""


class Teacher(Protocol):
    """A model in floating point whose outputs objectives may read."""

    @property
    def params(self) -> PyTree | None:
        """Its parameters; None: those that the stage starts from."""

    def __call__(self, params: PyTree, batch: PyTree) -> Any:
        """Returns its outputs for a batch."""


class ModelUnderPolicy(Protocol):
    """The model under one precision policy."""

    @property
    def evaluate(self) -> Evaluator | None:
        """Measures parameters and ranges; None where nothing is to be measured."""

    @property
    def range_rate(self) -> float | None:
        """Learning rate of ranges as a multiple of the network's; None where none are trained."""

    def loss(self, objectives: Objectives, teacher: Teacher | None = None) -> LossFunction:
        """Returns the objectives as a function of the parameters.

        Args:
          objectives: what is minimised.
          teacher: whose outputs they read, of the parameters in ``Frozen.teacher``.
        """

    def observe(self, params: PyTree, quant_stats: PyTree, batch: PyTree) -> PyTree:
        """An ``ObserveFunction``: a forward pass in floating point that takes its ranges in."""

    def empty_ranges(self) -> PyTree:
        """Returns ``quant_stats`` before anything was observed."""

    def trainable(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """Returns what training begins with: ``AwareParams`` where ranges are trained."""

    def ranges(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """Returns ``quant_stats`` with the ranges that were trained, if any were."""

    def check_ranges(self, params: PyTree, quant_stats: PyTree) -> None:
        """Raises ValueError, naming the sites, if a range is not positive."""


class Task(Protocol):
    """The model under any policy."""

    @property
    def objectives(self) -> Objectives:
        """What stages minimise that name no objectives of their own."""

    def under(self, precision: str) -> ModelUnderPolicy:
        """Returns the model under a policy by name; an empty name is the experiment's."""

    def teacher(self, name: str) -> Teacher:
        """Returns the teacher of a name: see ``TrainingStage.teacher``."""
