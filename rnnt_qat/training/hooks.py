"""Hooks: functions that change the parameters after each update, e.g. pruning."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

from rnnt_qat.training.state import AwareParams
from rnnt_qat.typing import Array, Int, PyTree


class Hook(Protocol):
    """A hook of a training stage: a frozen dataclass in ``TrainingStage.hooks``.

    Its methods receive the network's parameters, never trained ranges, and are traced.
    """

    @property
    def name(self) -> str:
        """Name that addresses the hook in a config."""

    @property
    def settled_after(self) -> int:
        """Number of steps of the stage after which a state may be the stage's result; 0 for any.

        States before are not what the hook is to give: they are measured, but never the best.
        """

    def check(self, steps: int) -> None:
        """Raises ValueError if a stage of ``steps`` steps is too short for the hook."""

    def init(self, params: PyTree) -> PyTree:
        """Returns the hook's initial state in a stage; it is stored in checkpoints."""

    def post_update(
        self, params: PyTree, state: PyTree, step: Int[Array, ""]
    ) -> tuple[PyTree, PyTree]:
        """Returns the parameters and the hook's state after an update.

        Args:
          params: the network's parameters after the optimizer's update.
          state: the hook's state.
          step: number of batches processed in the stage before this one; int32 scalar.
        """

    def post_average(self, ema_params: PyTree, state: PyTree) -> PyTree:
        """Returns the averaged parameters, which are evaluated and served, after the hook.

        Args:
          ema_params: moving average that includes the parameters returned by ``post_update``.
          state: the hook's state after ``post_update``.
        """


def begin(hooks: Sequence[Hook], params: PyTree) -> tuple[PyTree, ...]:
    """Returns the initial state of each hook of a stage.

    Args:
      hooks: the stage's hooks.
      params: ``AwareParams`` or the network's parameters.
    """
    return tuple(hook.init(network(params)) for hook in hooks)


def after_update(
    hooks: Sequence[Hook], params: PyTree, states: Sequence[PyTree], step: Int[Array, ""]
) -> tuple[PyTree, tuple[PyTree, ...], Callable[[PyTree], PyTree]]:
    """Runs the hooks on updated parameters.

    Args:
      hooks: the stage's hooks; each receives what the previous one returned.
      params: ``AwareParams`` or the network's parameters.
      states: one state per hook.
      step: number of batches processed in the stage before this one; int32 scalar.

    Returns:
      The parameters, the hooks' states, and a function to apply to the averaged parameters.
    """
    changed, new_states = network(params), []
    for hook, state in zip(hooks, states, strict=True):
        changed, new_state = hook.post_update(changed, state, step)
        new_states.append(new_state)

    def average(ema_params: PyTree) -> PyTree:
        changed = network(ema_params)
        for hook, state in zip(hooks, new_states, strict=True):
            changed = hook.post_average(changed, state)
        return with_network(ema_params, changed)

    return with_network(params, changed), tuple(new_states), average


def network(params: PyTree) -> PyTree:
    """Returns the network's parameters, whether or not the stage trains ranges."""
    return params.network if isinstance(params, AwareParams) else params


def with_network(params: PyTree, changed: PyTree) -> PyTree:
    """Returns ``params`` with the network's parameters replaced."""
    if isinstance(params, AwareParams):
        return dataclasses.replace(params, network=changed)
    return changed
