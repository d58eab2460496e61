"""Training states as versions before stages had hooks and teachers wrote them.

They lack ``hooks``, ``teacher`` and ``interval.terms``, and the optimizer's state is that of the
direction alone: the learning rate was applied outside of it, at the step that the state counts.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rnnt_qat.training.state import IntervalSums, TrainState
from rnnt_qat.typing import PyTree

NEW_FIELD = "hooks"
"""A field of ``TrainState`` that they lack."""


def earlier_form(template: TrainState) -> dict[str, PyTree]:
    """Returns the part of a state that they hold, in the tree that they hold it in.

    Args:
      template: a state of today, arrays or shapes, of a stage without hooks and teacher.

    Raises:
      ValueError: the stage has some; no earlier version can have written its state.
    """
    if jax.tree.leaves((template.hooks, template.teacher)):
        raise ValueError("a checkpoint of an earlier version has neither hooks nor a teacher")
    fields = _fields(template)
    del fields["hooks"], fields["teacher"]
    interval = _fields(template.interval)
    del interval["terms"]
    opt_state = template.opt_state[0] if template.opt_state else ()
    return fields | {"interval": interval, "opt_state": opt_state}


def from_earlier_form(
    saved: dict[str, PyTree], template: TrainState, stage_step: int
) -> TrainState:
    """Returns the state of today.

    Args:
      saved: arrays in the tree of ``earlier_form``.
      template: the state that the tree was made for.
      stage_step: batches seen in its stage.
    """
    terms = {name: jnp.zeros((), jnp.float32) for name in template.interval.terms}
    opt_state: Any = saved["opt_state"]
    if template.opt_state:
        schedule = optax.ScaleByScheduleState(count=jnp.full((), stage_step, jnp.int32))
        opt_state = opt_state, schedule
    rest = {"interval": IntervalSums(**saved["interval"], terms=terms), "opt_state": opt_state}
    return TrainState(**saved | rest)


def _fields(node: Any) -> dict[str, PyTree]:
    return {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
