"""The training loop: runs stages in sequence, evaluates, records and saves their states."""

import collections
import contextlib
import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from rnnt_qat.infra import progress as steps
from rnnt_qat.infra.compilations import compilations
from rnnt_qat.infra.console import Console, format_duration
from rnnt_qat.infra.errors import UserError
from rnnt_qat.infra.mesh import to_host
from rnnt_qat.training.batch_sizing import BatchSizing
from rnnt_qat.training.best_state import BestState
from rnnt_qat.training.checkpoints import (
    WER,
    CheckpointConfig,
    Checkpoints,
)
from rnnt_qat.training.compilation import CompiledUpdate
from rnnt_qat.training.device_batches import DeviceBatches, ResumableIterator
from rnnt_qat.training.metrics import METRICS, MetricsWriter, read_records
from rnnt_qat.training.plateau import plateaued
from rnnt_qat.training.progress import Progress
from rnnt_qat.training.run_folder import stage_directory
from rnnt_qat.training.run_states import RunStates
from rnnt_qat.training.signals import StoppedBySignal, StopRequest
from rnnt_qat.training.stages import BoundStage
from rnnt_qat.training.state import TrainState
from rnnt_qat.training.tracker import TRACKERS
from rnnt_qat.training.update import StepReport
from rnnt_qat.typing import PyTree

# Updates that the host may dispatch ahead of the device: enough to hide the host's work, few enough
# to bound the number of batches held in device memory.
STEPS_IN_FLIGHT = 2

STOP_AGREED_EVERY = 5
"""Steps after which several processes ask each other whether one of them was told to stop."""


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """Intervals and limits of the training loop, in steps.

    Attributes:
      log_every: steps between records of the training loss.
      evaluate_every: steps between evaluations; each stage also ends with one.
      checkpoint: interval and retention of checkpoints.
      skipped_in_a_row_limit: number of consecutive skipped batches that ends the run with an error.
      shard_above: number of elements above which an array is sharded over the devices instead of
        replicated (``infra.mesh.state_shardings``).
      console_seconds: minimum time in seconds between progress lines if the output is no terminal.
    """

    log_every: int = 20
    evaluate_every: int = 500
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    skipped_in_a_row_limit: int = 20
    shard_above: int = 2**24
    console_seconds: float = 15.0

    def __post_init__(self):
        for name in ("log_every", "evaluate_every", "skipped_in_a_row_limit"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


class SkippedBatchesError(UserError, RuntimeError):
    """Too many consecutive batches without a finite update."""


class Trainer:
    """Runs the stages of an experiment over one stream of batches.

    Each stage starts from the best state of the previous stage, not from its last state.

    Args:
      stages: the stages, bound to their task.
      create_state: returns the initial state; the same on every process.
      iterator: training batches.
      workdir: folder of checkpoints, records and TensorBoard files.
      config: the run's resolved config as JSON; a working directory of another config is refused.
      loop: intervals and limits.
      mesh: devices of all processes.
      console: output of progress lines.
      may_differ: dotted paths of the config's fields that may change when a run is resumed.
      upgrade: converts config JSON written by an earlier version to the current form.
      trackers: names of the services that receive the records too (``training.tracker``).
      sizing: choice of the batch size of each training stage by the memory of its step; None for
        the iterator's own size.
      stage_seconds: time in seconds, compilation included, after which a stage ends and its other
        steps are left out; a resumed process counts from its own start. Schedules are those of all
        steps: ``training.rehearsal`` finds the number that fits.
      saved: called after each checkpoint is handed to the writer; what it raises ends the run.
    """

    def __init__(
        self,
        stages: Sequence[BoundStage],
        create_state,
        iterator: ResumableIterator,
        workdir: pathlib.Path,
        config: Mapping[str, Any],
        loop: LoopConfig,
        mesh: Mesh,
        console: Console,
        may_differ: Sequence[str] = (),
        upgrade: Callable[[Any], Any] = lambda config: config,
        trackers: Sequence[str] = (),
        saved: Callable[[], None] = lambda: None,
        stage_seconds: float = math.inf,
        sizing: BatchSizing | None = None,
    ):
        self._saved, self._stage_seconds, self._sizing = saved, stage_seconds, sizing
        self._stages = stages
        self._config, self._trackers = config, trackers
        self._iterator = iterator
        self._loop = loop
        self._mesh = mesh
        self._console = console
        self._workdir = workdir
        self._checkpoints = [
            Checkpoints(
                stage_directory(workdir, index, stage.name),
                config,
                loop.checkpoint.keep_last,
                may_differ,
                upgrade,
            )
            for index, stage in enumerate(stages)
        ]
        self._states = RunStates(
            stages, create_state, self._checkpoints, mesh, loop.shard_above, console.say
        )
        self._wer: float | None = None

    def run(self) -> TrainState:
        """Trains to the end of the last stage, resuming from the newest checkpoint if there is one.

        Raises:
          StoppedBySignal: after SIGINT or SIGTERM, once a checkpoint is on disk.
          ConfigMismatchError: if the working directory belongs to another config.
          SkippedBatchesError: if ``skipped_in_a_row_limit`` batches in a row are skipped.
        """
        with steps.Progress("creating or restoring the state", self._console, remains=False):
            first, state = self._restore_or_create()
        first_steps = self._states.first_steps
        step = int(to_host(state.step))
        self._console.say(", ".join(f"{s.name} {s.steps} steps" for s in self._stages))
        self._input = DeviceBatches(self._iterator, self._mesh)
        writes = jax.process_index() == 0
        fields = flatten_dict(dict(self._config), sep=".") if writes and self._trackers else {}
        trackers = [TRACKERS[name](self._workdir, fields) for name in self._trackers if writes]
        self._writer = MetricsWriter(self._workdir, step if step else None, writes, trackers)
        try:
            with StopRequest(self._console.say) as self._stop:
                for index in range(first, len(self._stages)):
                    if step == first_steps[index + 1]:
                        continue  # the checkpoint was written at this stage's end
                    if step == first_steps[index]:
                        state = self._states.begin(index, state)
                    state = self._run_stage(index, state, step)
                    step = first_steps[index + 1]
        finally:
            self._writer.close()
            for checkpoints in self._checkpoints:
                checkpoints.wait()
        return state

    def best_states(self) -> Iterator[BestState]:
        """Yields the best state of each stage that has checkpoints (``RunStates.best``)."""
        return self._states.best()

    def _restore_or_create(self) -> tuple[int, TrainState]:
        """Returns the current stage's index and state; moves the iterator to the state's batch."""
        found = self._states.newest()
        if found is None:
            return 0, self._states.initial()
        index, restored = found
        self._iterator.restore(restored.iterator_state)
        self._console.say(f"{self._stages[index].name}: resumed at step {restored.step}")
        return index, restored.state

    def _run_stage(self, index: int, state: TrainState, step: int) -> TrainState:
        stage, loop, began = self._stages[index], self._loop, time.monotonic()
        first_step, last_step = self._states.first_steps[index : index + 2]
        update = CompiledUpdate(
            stage.make_update(first_step, loop.log_every, self._mesh),
            self._mesh,
            loop.shard_above,
        )
        if self._sizing and step == first_step:  # later in the stage, its checkpoints hold the size
            self._size_batches(self._sizing, stage, update, state, step)
        progress = Progress(stage.name, step, last_step, self._states.first_steps[-1])
        settled = first_step + stage.settled_after
        errors = self._errors_between(stage.name, settled, step) if stage.patience else []
        saved, before = step, compilations()
        in_flight: collections.deque[tuple[int, StepReport]] = collections.deque()

        def settle(at_most: int) -> None:
            while len(in_flight) > at_most:
                done, report = in_flight.popleft()
                jax.block_until_ready(report.learning_rate)
                if done % loop.log_every == 0 or done == last_step:
                    self._log(stage.name, done, report, progress)
                self._console.progress(progress.line(done, self._wer))

        while step < last_step:
            batch = self._input.take()
            if update.needs_compilation(batch):
                with progress.paused():
                    state, report = self._compile(stage.name, update, state, batch, step == saved)
            else:
                state, report = update(state, batch)
            step += 1
            in_flight.append((step, report))
            self._input.prepare()
            settle(STEPS_IN_FLIGHT)

            stop = self._agreed(step, self._stop.signal_number or 0)
            late = self._late(step, began) and not stop and step < last_step
            ended = step == last_step or late
            evaluate = stage.evaluate and (ended or step % loop.evaluate_every == 0)
            if not (ended or stop or evaluate or step % loop.checkpoint.every == 0):
                continue
            settle(0)
            with progress.paused():
                if ended:
                    state = self._states.finished(index, state)
                    stage.check(to_host(state))
                measured = self._evaluate(stage, step, state) if evaluate else None
                wer = measured if step >= settled else None
                if wer is not None and stage.patience and not ended:
                    errors.append(wer)
                    if plateaued(errors, stage.patience):
                        stage.check(to_host(state))
                        why = f"no lower WER in {stage.patience} evaluations"
                        state = self._leave_out(stage, state, step, last_step, why)
                        step = last_step
                if late:
                    why = f"its {self._stage_seconds:.0f} s are over"
                    state = self._leave_out(stage, state, step, last_step, why)
                    step = last_step
                self._checkpoints[index].save(step, state, self._input.position, wer)
                self._saved()
                saved = step
                if stop:
                    self._checkpoints[index].wait()
                    raise StoppedBySignal(stop, step)
        made = compilations() - before
        self._console.say(f"{progress.line(step, self._wer)}  [{update.summary()}; {made}]")
        counts = {"compilations": update.count, "compile_seconds": update.seconds}
        self._writer.write_throughput(step, stage.name, counts | made.record())
        return state

    def _size_batches(
        self,
        sizing: BatchSizing,
        stage: BoundStage,
        update: CompiledUpdate,
        state: TrainState,
        step: int,
    ) -> None:
        """Gives a stage's batches their size, before its first step; all before is saved."""
        batch_seconds = sizing.fixed_seconds
        if stage.trains:
            title = f"{stage.name}: compiling for batches of several sizes to measure their memory"
            self._console.progress(f"{title}; this can take minutes", force=True)
            with self._end_at_once(), steps.Progress(title, self._console, remains=False):
                fit = sizing.choose(update, state)
            batch_seconds = fit.batch_seconds
            self._console.say(
                f"{stage.name}: batches of {batch_seconds:g} s, whose step takes "
                f"{fit.step_bytes / 1e6:,.0f} of {sizing.memory_bytes / 1e6:,.0f} MB"
            )
            # Of the first step: what is written at the one before is of the stage before.
            self._writer.write(step + 1, stage.name, {"batch_seconds": batch_seconds})
            self._writer.write_throughput(step + 1, stage.name, {"step_bytes": fit.step_bytes})
        self._iterator.restore(self._input.position)  # without what was prepared ahead
        sizing.batches.resize(batch_seconds)
        self._input = DeviceBatches(self._iterator, self._mesh)

    def _errors_between(self, stage: str, first: int, last: int) -> list[float]:
        """Returns the validation errors of a stage that a resumed run has recorded."""
        records = read_records(self._workdir / METRICS)
        steps = range(first, last + 1)
        return [r[WER] for r in records if r["stage"] == stage and r["step"] in steps and WER in r]

    def _leave_out(
        self, stage: BoundStage, state: TrainState, step: int, to: int, why: str
    ) -> TrainState:
        """Returns a state that counts the rest of a stage as done."""
        self._console.say(
            f"{stage.name} {step}: {why}; the stage ends, {to - step} steps are left out"
        )
        self._writer.write(step, stage.name, {"left_out_steps": to - step})
        return self._states.at_step(state, to)

    def _compile(
        self, stage: str, update: CompiledUpdate, state: TrainState, batch: PyTree, all_saved: bool
    ) -> tuple[TrainState, StepReport]:
        """Runs an update that compiles; if all is saved, a signal ends the process at once."""
        number, before = update.count + 1, update.seconds
        title = f"{stage}: compiling for batch shape {number}"
        self._console.progress(f"{title}; this can take minutes", force=True)
        ending = self._end_at_once() if all_saved else contextlib.nullcontext()
        with ending, steps.Progress(title, self._console, remains=False):
            updated = update(state, batch)
        seconds = format_duration(update.seconds - before)
        self._console.say(f"{stage}: compiled for batch shape {number} in {seconds}")
        return updated

    def _end_at_once(self) -> contextlib.AbstractContextManager:
        """Returns a context in which a signal ends the process: compiling, with nothing to save."""
        alone = jax.process_count() == 1  # otherwise the other processes would wait for this one
        return self._stop.nothing_to_save("compiling") if alone else contextlib.nullcontext()

    def _late(self, step: int, began: float) -> bool:
        """Returns whether the stage's time is over; all processes agree on the step."""
        limit = self._stage_seconds
        if limit == math.inf:
            return False
        return bool(self._agreed(step, int(time.monotonic() - began >= limit)))

    def _agreed(self, step: int, here: int) -> int:
        """Returns the largest of the processes' numbers: a signal to stop on, a limit reached.

        Several processes ask each other at every ``STOP_AGREED_EVERY``-th step; it is 0 at others.
        """
        if jax.process_count() == 1:
            return here
        if step % STOP_AGREED_EVERY:
            return 0
        return int(np.max(multihost_utils.process_allgather(np.int32(here))))

    def _evaluate(self, stage: BoundStage, step: int, state: TrainState) -> float:
        assert stage.evaluate is not None
        begun = time.monotonic()
        title = f"{stage.name} {step}: evaluating"
        with steps.Progress(title, self._console, unit="batches", remains=False) as progress:
            metrics = stage.evaluate(state.ema_params, state.quant_stats, progress.at)
        self._writer.write(step, stage.name, metrics)
        self._wer = metrics[WER]
        seconds = format_duration(time.monotonic() - begun)
        self._console.say(
            f"{stage.name} {step}: validation WER {100 * self._wer:.1f} % (measured in {seconds})"
        )
        return self._wer

    def _log(self, stage: str, step: int, report: StepReport, progress: Progress) -> None:
        report = jax.device_get(report)
        interval, skips, record = report.interval, report.skips, report.record()
        progress.loss = record.get("loss", float("nan"))
        self._writer.write(step, stage, record)
        progress.measure(step, float(interval.utterances), float(interval.audio_seconds))
        self._writer.write_throughput(step, stage, progress.rates())
        if skips.longest_run >= self._loop.skipped_in_a_row_limit:
            raise SkippedBatchesError(
                f"{stage}: {int(skips.longest_run)} batches in a row up to step {step} gave a "
                "loss or gradient that is not finite, or held no feasible utterance. Lower "
                "optimizer.learning_rate or optimizer.clip_norm, look into the data, or raise "
                "loop.skipped_in_a_row_limit."
            )
