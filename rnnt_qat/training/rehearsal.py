"""The speed of a stage's steps, measured before it begins, to set its number of steps.

Learning rates and weights follow the number of a stage's steps. A stage that has to end within a
time therefore needs the number that fits. ``rehearse`` runs the stage's own update on its own
batches and discards the result; compiled programs stay in the persistent cache.
"""

import collections
import dataclasses
import time

import jax
from jax.sharding import Mesh

from rnnt_qat.infra.mesh import place_state, state_shardings
from rnnt_qat.training.compilation import CompiledUpdate
from rnnt_qat.training.device_batches import DeviceBatches, ResumableIterator
from rnnt_qat.training.loop import STEPS_IN_FLIGHT, LoopConfig
from rnnt_qat.training.stages import BoundStage
from rnnt_qat.training.state import TrainState
from rnnt_qat.training.update import StepReport

SHORTEST = 5
"""Steps that are timed even if they take longer than asked for."""

SPARE = 0.05
"""Share of the time that is not planned, since later steps may be slower."""


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """Times of a stage, in seconds.

    Attributes:
      seconds_per_step: mean time of a step, that of waiting for its batch included.
      steps: number of timed steps.
      lowering_seconds: time of tracing and lowering, which the stage will need again.
      compile_seconds: time of lowering and compiling.
      shapes: number of batch shapes.
    """

    seconds_per_step: float
    steps: int
    lowering_seconds: float
    compile_seconds: float
    shapes: int

    def steps_within(self, seconds: float) -> int:
        """Returns the number of steps that fit in a time, at least 1.

        Args:
          seconds: time from the stage's beginning to its end, in seconds.
        """
        left = seconds * (1 - SPARE) - self.lowering_seconds
        return max(1, int(left / self.seconds_per_step))


def rehearse(
    stage: BoundStage,
    state: TrainState,
    iterator: ResumableIterator,
    mesh: Mesh,
    loop: LoopConfig,
    *,
    shapes: int,
    batches_in_epoch: int,
    ahead: int,
    seconds: float,
) -> Rehearsal:
    """Compiles a stage's programs and times its steps.

    Args:
      stage: the first stage of a run, without a teacher.
      state: the run's initial state.
      iterator: training batches from the first one on; read past what the stage will read.
      mesh: devices.
      loop: the run's intervals.
      shapes: number of batch shapes that there may be.
      batches_in_epoch: number of batches in which every shape that occurs does occur.
      ahead: number of batches that the iterator prepares in advance; as many steps are not timed,
        because their batches may have been ready.
      seconds: time to measure for, in seconds.
    """
    state = jax.jit(stage.begin)(state, ())
    state = place_state(state, state_shardings(mesh, state, loop.shard_above))
    update = CompiledUpdate(stage.make_update(0, loop.log_every, mesh), mesh, loop.shard_above)
    batches = DeviceBatches(iterator, mesh)
    for _ in range(batches_in_epoch):
        batch = batches.take()
        if update.needs_compilation(batch):
            state, _ = update(state, batch)
        if update.count == shapes:
            break

    in_flight: collections.deque[StepReport] = collections.deque()
    timed, begun = -ahead, time.monotonic()
    while timed < SHORTEST or time.monotonic() - begun < seconds:
        if timed == 0:
            _wait(in_flight, 0)
            begun = time.monotonic()
        state, report = update(state, batches.take())
        in_flight.append(report)
        batches.prepare()
        _wait(in_flight, STEPS_IN_FLIGHT)
        timed += 1
    _wait(in_flight, 0)
    return Rehearsal(
        seconds_per_step=(time.monotonic() - begun) / timed,
        steps=timed,
        lowering_seconds=update.lowering_seconds,
        compile_seconds=update.seconds,
        shapes=update.count,
    )


def _wait(in_flight: collections.deque[StepReport], at_most: int) -> None:
    while len(in_flight) > at_most:
        jax.block_until_ready(in_flight.popleft().learning_rate)
