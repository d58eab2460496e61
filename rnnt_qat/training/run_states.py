"""The states of a run: created, restored from checkpoints, and handed from stage to stage."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from rnnt_qat.infra.mesh import place_state, state_shardings
from rnnt_qat.training.best_state import BestState
from rnnt_qat.training.checkpoints import Checkpoints, DamagedCheckpointError, Restored
from rnnt_qat.training.earlier_states import NEW_FIELD, earlier_form, from_earlier_form
from rnnt_qat.training.stages import BoundStage
from rnnt_qat.training.state import TrainState
from rnnt_qat.typing import PyTree


class RunStates:
    """The states that the stages of a run begin and go on from, and their best ones.

    Stages change the structure of a state, so the structure of a checkpoint follows from all stages
    up to its own. What updates and saves states is the training loop (``Trainer``).

    Args:
      stages: the stages, bound to their task.
      create_state: returns the initial state; the same on every process.
      checkpoints: the checkpoints of each stage.
      mesh: devices of all processes.
      shard_above: threshold of ``state_shardings`` in elements.
      say: prints a line.

    Attributes:
      first_steps: number of batches processed before each stage; at the end, that of all stages.
    """

    def __init__(
        self,
        stages: Sequence[BoundStage],
        create_state: Callable[[], TrainState],
        checkpoints: Sequence[Checkpoints],
        mesh: Mesh,
        shard_above: int,
        say: Callable[[str], None],
    ):
        self._stages, self._checkpoints = stages, checkpoints
        self._create_state = create_state
        self._mesh, self._shard_above = mesh, shard_above
        self._say = say
        self.first_steps: list[int] = np.cumsum([0, *(s.steps for s in stages)]).tolist()

    def initial(self) -> TrainState:
        """Returns the state before the first stage, on the devices."""
        state = self._create_state()
        return place_state(state, self._shardings(state))

    def newest(self) -> tuple[int, Restored] | None:
        """Restores the newest usable checkpoint; moves damaged ones away and says so.

        Returns:
          The index of its stage and its content; None if the run has no checkpoint.

        Raises:
          ConfigMismatchError: if it was written under another config.
        """
        for checkpoints in self._checkpoints:
            for line in checkpoints.set_aside:
                self._say(f"warning: {line}")
        for index in reversed(range(len(self._stages))):
            checkpoints = self._checkpoints[index]
            while (step := checkpoints.latest_step()) is not None:
                try:
                    return index, self._restore(index, step)
                except DamagedCheckpointError as error:
                    moved = checkpoints.discard(step)
                    self._say(
                        f"warning: {error}; moved to {moved}, which can be deleted. "
                        "The run goes on from the checkpoint before it"
                    )
        return None

    def begin(self, index: int, state: TrainState) -> TrainState:
        """Returns a stage's first state: the previous stage's best state, counters continued.

        Args:
          index: position of the stage among those of the run.
          state: last state of the previous stage, or the run's initial state.

        Raises:
          DamagedCheckpointError: if the previous stage's best state cannot be read.
        """
        if index:
            state = self._with_best_of(index - 1, state)

        teacher = self._teacher(index)
        teacher = place_state(teacher, self._shardings(teacher))
        begin = functools.partial(self._first_state, index)
        shardings = self._shardings(jax.eval_shape(begin, state, teacher))
        return jax.jit(begin, out_shardings=shardings)(state, teacher)

    def finished(self, index: int, state: TrainState) -> TrainState:
        """Returns a stage's state after its last batch as it is evaluated and saved."""
        finish = self._stages[index].finish
        if finish is None:
            return state
        return jax.jit(finish, out_shardings=self._shardings(state))(state)

    def at_step(self, state: TrainState, step: int) -> TrainState:
        """Returns a state that counts another number of batches as processed."""
        return dataclasses.replace(
            state, step=jax.device_put(np.int32(step), self._shardings(state).step)
        )

    def best(self) -> Iterator[BestState]:
        """Yields the best state of each stage that has checkpoints.

        This is the state of lowest WER, or the newest one if none was evaluated.

        Raises:
          DamagedCheckpointError: if one cannot be read.
        """
        for index, (stage, checkpoints) in enumerate(
            zip(self._stages, self._checkpoints, strict=True)
        ):
            step = checkpoints.best_step()
            if step is not None:
                state = self._restore_best(index, step).state
                yield BestState(
                    stage=stage.name,
                    step=step,
                    wer=checkpoints.wer(step),
                    state=state,
                    precision=stage.precision,
                    trained=stage.trains,
                )

    def _restore(self, index: int, step: int) -> Restored:
        # Stages change the state's structure, so the template is passed through each of them.
        self._checkpoints[index].check_config(step)
        template = jax.eval_shape(self._create_state)
        for i in range(index + 1):
            teacher = jax.eval_shape(lambda i=i: self._teacher(i))
            template = jax.eval_shape(functools.partial(self._first_state, i), template, teacher)
        checkpoints = self._checkpoints[index]
        if checkpoints.holds(step, NEW_FIELD):
            return checkpoints.restore(step, template, self._shardings(template))
        form = earlier_form(template)
        restored = checkpoints.restore(step, form, self._shardings(form))
        saved: Any = restored.state
        state = from_earlier_form(saved, template, step - self.first_steps[index])
        # Added fields are on a single device so far.
        return dataclasses.replace(restored, state=jax.device_put(state, self._shardings(state)))

    def _restore_best(self, index: int, step: int) -> Restored:
        """Restores the best state of a stage; never falls back to another checkpoint."""
        try:
            return self._restore(index, step)
        except DamagedCheckpointError as error:
            raise DamagedCheckpointError(
                f"{error}. It is the best state of the stage {self._stages[index].name}: restore "
                f"it from a copy, or delete {self._checkpoints[index].directory / str(step)}, and "
                "the best of those left is taken"
            ) from error

    def _with_best_of(self, index: int, state: TrainState) -> TrainState:
        """Returns a stage's last state with the parameters and ranges of its best state."""
        self._checkpoints[index].wait()
        step = self._checkpoints[index].best_step()
        if step is None or step == self.first_steps[index + 1]:
            return state
        best = self._restore_best(index, step).state
        self._say(f"going on from {self._stages[index].name} step {step}, its best")
        return dataclasses.replace(
            state, params=best.params, ema_params=best.ema_params, quant_stats=best.quant_stats
        )

    def _first_state(self, index: int, state: TrainState, teacher: PyTree) -> TrainState:
        """Returns a stage's first state from the previous stage's last state; traced."""
        state = self._stages[index - 1].end(state) if index else state
        return self._stages[index].begin(state, teacher)

    def _teacher(self, index: int) -> PyTree:
        teacher = self._stages[index].teacher
        return () if teacher is None else teacher

    def _shardings(self, state: PyTree) -> PyTree:
        return state_shardings(self._mesh, state, self._shard_above)
