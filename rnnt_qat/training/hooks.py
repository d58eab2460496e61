"""Hooks: what a stage does to the parameters after each update, such as pruning them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

from rnnt_qat.training.state import AwareParams
from rnnt_qat.typing import Array, Int, PyTree


class Hook(Protocol):
    """A frozen dataclass in ``TrainingStage.hooks``.

    Its methods see the network's parameters alone, never trained ranges, and are traced.
    """

    @property
    def name(self) -> str:
        """What addresses the hook in a config."""

    def check(self, steps: int) -> None:
        """Raises ValueError if a stage of so many steps is too short for the hook."""

    def init(self, params: PyTree) -> PyTree:
        """Returns the hook's own state at the start of a stage; checkpoints keep it."""

    def post_update(
        self, params: PyTree, state: PyTree, step: Int[Array, ""]
    ) -> tuple[PyTree, PyTree]:
        """Returns the parameters and the hook's state after an update.

        Args:
          params: parameters that the optimizer has just changed.
          state: the hook's.
          step: batches seen in the stage before this one.
        """

    def post_average(self, ema_params: PyTree, state: PyTree) -> PyTree:
        """Returns the averaged parameters, which are evaluated and served, as the hook wants them.

        Args:
          ema_params: their average with those that ``post_update`` returned.
          state: the hook's, after ``post_update``.
        """


def begin(hooks: Sequence[Hook], params: PyTree) -> tuple[PyTree, ...]:
    """Returns the hooks' states at the start of a stage."""
    return tuple(hook.init(network(params)) for hook in hooks)


def after_update(
    hooks: Sequence[Hook], params: PyTree, states: Sequence[PyTree], step: Int[Array, ""]
) -> tuple[PyTree, tuple[PyTree, ...], Callable[[PyTree], PyTree]]:
    """Runs the hooks on updated parameters.

    Args:
      hooks: of the stage; each sees what the one before returned.
      params: ``AwareParams`` or the network's parameters.
      states: of the hooks.
      step: batches seen in the stage before this one.

    Returns:
      Parameters, the hooks' states, and what is to be done to the averaged parameters.
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
    """Returns the network's parameters, of a stage that trains ranges or of another."""
    return params.network if isinstance(params, AwareParams) else params


def with_network(params: PyTree, changed: PyTree) -> PyTree:
    """Returns ``params`` with the network's parameters replaced."""
    if isinstance(params, AwareParams):
        return dataclasses.replace(params, network=changed)
    return changed
