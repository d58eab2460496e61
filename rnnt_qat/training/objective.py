"""Objectives: what a stage minimises, as a weighted sum of named terms."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import optax

from rnnt_qat.typing import Array, Float, Int


class Objective(Protocol):
    """A frozen dataclass in ``WeightedObjective.objective``; one file each in ``objectives/``."""

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms that a call returns."""

    @property
    def needs_teacher(self) -> bool:
        """Whether a call reads the teacher's outputs."""

    def check(self, model: Any) -> None:
        """Raises ValueError, naming the field, if a model so configured lacks what a call reads."""

    def __call__(
        self, outputs: Any, teacher: Any, batch: Any, step: Int[Array, ""]
    ) -> Mapping[str, Float[Array, "B"]]:
        """Returns the terms of each row; the objective is their sum.

        Args:
          outputs: what the model makes of the batch.
          teacher: what the teacher makes of it, without gradient; None in a stage without one.
          batch: the batch.
          step: batches seen in the stage before this one.
        """


@dataclasses.dataclass(frozen=True)
class WeightedObjective:
    """An objective with its weight.

    Attributes:
      name: what addresses it in a config, and its terms in records (``terms/NAME/TERM``).
      objective: what is computed.
      weight: what multiplies it.
      ramp_from: weight at the stage's first step.
      ramp_steps: steps over which the weight goes from ``ramp_from`` to ``weight``, linearly; 0
        leaves it constant.
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
    """Returns the names of all terms in records."""
    return tuple(f"{each.name}/{term}" for each in objectives for term in each.objective.terms)


def total(
    objectives: Sequence[WeightedObjective],
    outputs: Any,
    teacher: Any,
    batch: Any,
    step: Int[Array, ""],
) -> tuple[Float[Array, "B"], dict[str, Float[Array, "B"]]]:
    """Returns the weighted sum of the objectives of each row, and all terms by name.

    Args:
      objectives: one at least.
      outputs: what the model makes of the batch.
      teacher: what the teacher makes of it, or None.
      batch: the batch.
      step: batches seen in the stage before this one.
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
    # Begins with the first value, not with zero: one more operation in each graph.
    return sum(values[1:], start=values[0])
