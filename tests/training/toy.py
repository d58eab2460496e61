"""A run without a recognizer: a tiny regression with ranges, so that the loop is tested alone.

As a program it trains in a working directory: ``python -m tests.training.toy WORKDIR``.
"""

import argparse
import dataclasses
import math
import os
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import tests.infra.directory_store  # noqa: F401 - so that WORKDIR may be dirstore://FOLDER
from rnnt_qat.experiment.remote_paths import open_workdir
from rnnt_qat.infra import processes
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.lease import LeaseTimes
from rnnt_qat.infra.mesh import make_mesh, to_host
from rnnt_qat.training.checkpoints import CheckpointConfig
from rnnt_qat.training.loop import LoopConfig, Trainer
from rnnt_qat.training.objective import WeightedObjective, total
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.plan import bind
from rnnt_qat.training.signals import StoppedBySignal
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.state import TrainState
from rnnt_qat.training.task import FLOAT32
from rnnt_qat.training.update import RowLosses

WIDTH = 6


class ToyIterator:
    """Batches ``{x[B, T, F], lengths[B]}`` of two lengths; the position is a batch number."""

    def __init__(self, rows=8, poisoned=(), seconds=0.0, process=0, processes=1, signals=None):
        self._signals = signals or {}
        self._rows, self._poisoned, self._seconds = rows, set(poisoned), seconds
        self._process, self._processes = process, processes
        self._position = 0

    def __iter__(self):
        return self

    def __next__(self):
        time.sleep(self._seconds)
        if self._position in self._signals:
            os.kill(os.getpid(), self._signals[self._position])
        rng = np.random.default_rng(self._position)
        frames = (3, 5)[self._position % 2]
        x = rng.normal(size=(self._rows, frames, WIDTH)).astype(np.float32)
        lengths = rng.integers(0, frames + 1, size=self._rows).astype(np.int32)
        if self._position in self._poisoned:
            x[0] = np.nan
            lengths[0] = frames
        self._position += 1
        share = self._rows // self._processes
        own = slice(self._process * share, (self._process + 1) * share)
        return {"x": x[own], "lengths": lengths[own]}

    def state(self):
        return {"batch": self._position}

    def restore(self, state):
        self._position = state["batch"]


@dataclasses.dataclass(frozen=True)
class SquaredError:
    """Distance of the outputs from the target."""

    needs_teacher = False
    terms = ("error",)

    def __call__(self, outputs, teacher, batch, step):
        mask = jnp.arange(outputs.shape[1]) < batch["lengths"][:, None]
        target = jnp.tanh(batch["x"] @ jnp.sin(jnp.arange(WIDTH * WIDTH)).reshape(WIDTH, WIDTH))
        return {"error": jnp.where(mask[..., None], (outputs - target) ** 2, 0).sum((1, 2))}


@dataclasses.dataclass(frozen=True)
class Imitation:
    """Distance of the outputs from the teacher's."""

    needs_teacher = True
    terms = ("distance",)

    def __call__(self, outputs, teacher, batch, step):
        return {"distance": ((outputs - teacher) ** 2).sum((1, 2))}


class ToyTeacher:
    def __init__(self, params):
        self.params = params

    def __call__(self, params, batch):
        return _outputs(params, batch["x"])


def _outputs(params, x):
    x = x.astype(params["w"].dtype)
    return jnp.tanh(x @ params["w"] + params["b"]).astype(jnp.float32)


class ToyTask:
    """Learns a fixed linear map, under any policy."""

    objectives = (WeightedObjective("map", SquaredError()),)

    def __init__(self, evaluate=True):
        self._evaluate = evaluate

    def under(self, precision):
        return ToyUnderPolicy(precision != FLOAT32, self._evaluate)

    def teacher(self, name):
        return ToyTeacher(None if name == "self" else create_state(seed=int(name)).params)


class ToyUnderPolicy:
    """In floating point, or rounding its input to the calibrated range."""

    def __init__(self, rounds, evaluate):
        self._rounds = rounds
        self.evaluate = self._evaluate if evaluate else None

    def loss(self, objectives, teacher=None):
        def losses(params, frozen, batch, step, key):
            x = batch["x"]
            if self._rounds:
                scale = frozen.quant_stats["max_abs"] / 127
                x = x + jax.lax.stop_gradient(jnp.round(x / scale) * scale - x)
            taught = None if teacher is None else teacher(frozen.teacher, batch)
            loss, terms = total(objectives, _outputs(params, x), taught, batch, step)
            present = batch["lengths"] > 0
            return RowLosses(
                loss=loss,
                present=present,
                feasible=present,
                labels=batch["lengths"],
                audio_seconds=batch["lengths"] * 0.01,
                terms=terms,
            )

        return losses

    def observe(self, params, quant_stats, batch, operands=False):
        seen = {"max_abs": jnp.maximum(quant_stats["max_abs"], jnp.abs(batch["x"]).max())}
        return seen | {"sum": quant_stats["sum"] + batch["x"].sum((0, 1))} if operands else seen

    def empty_ranges(self, operands=False):
        return {"max_abs": jnp.zeros(())} | ({"sum": jnp.zeros(WIDTH)} if operands else {})

    def corrected(self, params, quant_stats):
        return params | {"b": params["b"] - quant_stats["sum"]}

    range_rate = None

    def trainable(self, params, quant_stats):
        return params

    def ranges(self, params, quant_stats):
        return quant_stats

    def check_ranges(self, params, quant_stats):
        if self._rounds and not quant_stats["max_abs"] > 0:
            raise ValueError("max_abs was not calibrated")

    def _evaluate(self, params, quant_stats, progress):
        progress(1, 1, 0)
        params = to_host(params)
        return {"wer": float(np.abs(params["w"]).mean()), "bias": float(params["b"].sum())}


def create_state(seed=0):
    key = jax.random.key(seed)
    params = {"w": 0.1 * jax.random.normal(key, (WIDTH, WIDTH)), "b": jnp.zeros(WIDTH)}
    return TrainState.create(params, {}, seed)


def plan(float_steps=30, batches=4, aware_steps=16, bias_correction=False, **optimizer):
    optimizer = OptimizerConfig(**{"learning_rate": 0.02, "warmup_steps": 3, **optimizer})
    return (
        TrainingStage("float", float_steps, FLOAT32, optimizer),
        Calibration(batches=batches, bias_correction=bias_correction),
        TrainingStage("aware", aware_steps, optimizer=optimizer),
    )


def trainer(
    workdir,
    stages,
    iterator,
    *,
    config=None,
    create=create_state,
    evaluate=True,
    console=None,
    upgrade=lambda c: c,
    stage_seconds=math.inf,
    saved=lambda: None,
    **loop,
):
    loop = {"log_every": 5, "evaluate_every": 12, "checkpoint": CheckpointConfig(every=7), **loop}
    return Trainer(
        bind(stages, ToyTask(evaluate)),
        create,
        iterator,
        pathlib.Path(workdir),
        config or {"seed": 0},
        LoopConfig(**loop),
        make_mesh(),
        console or Console(sys.stderr, period_seconds=0.5),
        upgrade=upgrade,
        stage_seconds=stage_seconds,
        saved=saved,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir")
    parser.add_argument("--seconds", type=float, default=0.0, help="time a batch takes to make")
    parser.add_argument("--coordinator")
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--shard-above", type=int, default=2**24)
    parser.add_argument("--signal-at", type=int, default=-1, help="batch that brings a signal")
    parser.add_argument("--signal", type=int, default=15)
    args = parser.parse_args()
    if args.coordinator:
        processes.join(args.coordinator, args.processes, args.process)
    else:
        processes.join_detected()
    iterator = ToyIterator(
        rows=8,
        seconds=args.seconds,
        process=jax.process_index(),
        processes=jax.process_count(),
        signals={args.signal_at: args.signal},
    )
    console, times = Console(sys.stderr, period_seconds=0.5), LeaseTimes(0.2, 1.5)
    try:
        with open_workdir(args.workdir, console, times) as workdir:
            trainer(
                workdir.path,
                plan(),
                iterator,
                console=console,
                saved=workdir.check,
                shard_above=args.shard_above,
            ).run()
    except StoppedBySignal as stopped:
        print(stopped, flush=True)
        processes.end_together()
        os._exit(stopped.exit_code) if jax.process_count() > 1 else sys.exit(stopped.exit_code)


if __name__ == "__main__":
    main()
