"""Objectives of a stage: a weighted sum of named loss terms."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import optax

from rnnt_qat.typing import Array, Float, Int


class Objective(Protocol):
    """A loss function as a frozen dataclass; implementations are in ``rnnt_qat/objectives/``."""

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms returned by ``__call__``."""

    @property
    def needs_teacher(self) -> bool:
        """Whether ``__call__`` reads the teacher's outputs."""

    def check(self, model: Any) -> None:
        """Raises ValueError, naming the field, if the model config lacks a required output."""

    def __call__(
        self, outputs: Any, teacher: Any, batch: Any, step: Int[Array, ""]
    ) -> Mapping[str, Float[Array, "B"]]:
        """Computes the terms of each row; the objective is their sum.

        Args:
          outputs: the model's outputs for the batch.
          teacher: the teacher's outputs, without gradient; None in a stage without a teacher.
          batch: the batch of B rows.
          step: number of batches processed in the stage before this one; int32 scalar.

        Returns:
          Term values by name, float32 ``[B]``.
        """


@dataclasses.dataclass(frozen=True)
class WeightedObjective:
    """An objective with its weight.

    Attributes:
      name: name in configs and in records (``terms/NAME/TERM``).
      objective: the loss function.
      weight: factor of the objective in the total.
      ramp_from: weight at the stage's first step, if ``ramp_steps`` > 0.
      ramp_steps: number of steps, >= 0, over which the weight changes linearly from ``ramp_from``
        to ``weight``; 0 keeps it constant.
    """

    name: str
    objective: Objective
    weight: float = 1.0
    ramp_from: float = 0.0
    ramp_steps: int = 0

    def __post_init__(self):
        if self.ramp_steps < 0:
            raise ValueError(f"{self.name}: ramp_steps is {self.ramp_steps}; it must not be < 0")

    def weight_at(self, step: Int[Array, ""]) -> float | Float[Array, ""]:
        """Returns the weight at a step of the stage."""
        if not self.ramp_steps:
            return self.weight
        return optax.linear_schedule(self.ramp_from, self.weight, self.ramp_steps)(step)


Objectives = tuple[WeightedObjective, ...]


def term_names(objectives: Sequence[WeightedObjective]) -> tuple[str, ...]:
    """Returns the names of all terms, as written to records."""
    return tuple(f"{each.name}/{term}" for each in objectives for term in each.objective.terms)


def total(
    objectives: Sequence[WeightedObjective],
    outputs: Any,
    teacher: Any,
    batch: Any,
    step: Int[Array, ""],
) -> tuple[Float[Array, "B"], dict[str, Float[Array, "B"]]]:
    """Computes the weighted sum of the objectives for each row.

    Args:
      objectives: at least one objective.
      outputs: the model's outputs for the batch.
      teacher: the teacher's outputs, or None.
      batch: the batch of B rows.
      step: number of batches processed in the stage before this one; int32 scalar.

    Returns:
      The weighted sum, ``[B]``, and all unweighted terms by name, ``[B]`` each.

    Raises:
      TypeError: if an objective returns other terms than it declares.
    """
    values: list[Array] = []
    terms: dict[str, Array] = {}
    for each in objectives:
        found = dict(each.objective(outputs, teacher, batch, step))
        if set(found) != set(each.objective.terms):
            raise TypeError(f"{each.name} returned {sorted(found)}, not {each.objective.terms}")
        terms |= {f"{each.name}/{term}": value for term, value in found.items()}
        values.append(each.weight_at(step) * _sum(list(found.values())))
    return _sum(values), terms


def _sum(values: list[Array]) -> Array:
    # Starting from zero would add an operation to each graph.
    return sum(values[1:], start=values[0])
