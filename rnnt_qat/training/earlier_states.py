"""Conversion of training states written before stages had hooks and teachers.

Those states lack ``hooks``, ``teacher`` and ``interval.terms``. Their optimizer state is that of
the update direction only: the learning rate was applied outside the optimizer.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rnnt_qat.training.state import IntervalSums, TrainState
from rnnt_qat.typing import PyTree

NEW_FIELD = "hooks"
"""A field of ``TrainState`` that earlier states lack; its absence identifies them."""


def earlier_form(template: TrainState) -> dict[str, PyTree]:
    """Returns the fields of a state that earlier versions wrote, in the structure they used.

    Args:
      template: a current state, of arrays or shapes, of a stage without hooks and teacher.

    Raises:
      ValueError: if the stage has hooks or a teacher, which no earlier version can have written.
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
    """Converts an earlier state to the current form.

    Args:
      saved: arrays in the structure returned by ``earlier_form``.
      template: the state that was passed to ``earlier_form``.
      stage_step: number of batches processed in the state's stage.

    Returns:
      A state in the structure of ``template``.
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
