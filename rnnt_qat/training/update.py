"""One jitted update: gradients of a loss function, skipped when they are not finite."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import flax.struct
import jax
import jax.numpy as jnp
import optax

from rnnt_qat.training.optimizer import OptimizerConfig, make_optimizer, make_schedule, update_ema
from rnnt_qat.training.state import IntervalSums, Skips, TrainState
from rnnt_qat.typing import Array, Bool, Float, Int, PRNGKey, PyTree


@flax.struct.dataclass
class RowLosses:
    """What a loss function says of each row of a batch.

    Attributes:
      loss: negative log-likelihood in nats; read only where ``feasible``.
      present: False for padding rows.
      feasible: False where no alignment explains the labels; implies ``present``.
      labels: tokens of the row.
      audio_seconds: audio of the row.
    """

    loss: Float[Array, "B"]
    present: Bool[Array, "B"]
    feasible: Bool[Array, "B"]
    labels: Int[Array, "B"]
    audio_seconds: Float[Array, "B"]


class LossFunction(Protocol):
    """A model, a frontend and a loss, bound into one function of the variables and a batch."""

    def __call__(
        self, params: PyTree, quant_stats: PyTree, batch: PyTree, key: PRNGKey
    ) -> RowLosses:
        """Losses of a batch's rows; ``key`` is for dropout and augmentation."""


class ObserveFunction(Protocol):
    """A forward pass that returns ``quant_stats`` with the ranges of this batch taken in."""

    def __call__(self, params: PyTree, quant_stats: PyTree, batch: PyTree) -> PyTree:
        """The ranges after this batch."""


@flax.struct.dataclass
class StepReport:
    """What the host may want to know after a step; scalars on the device."""

    interval: IntervalSums
    skips: Skips
    learning_rate: Float[Array, ""]


Update = Callable[[TrainState, PyTree], tuple[TrainState, StepReport]]


def training_update(
    loss: LossFunction,
    config: OptimizerConfig,
    *,
    first_step: int,
    steps: int,
    log_every: int,
) -> Update:
    """An update that learns from a batch.

    The gradient is that of the mean over the feasible rows of the whole batch, whatever the
    microbatches and devices. An update whose loss or gradient is not finite, or without a
    feasible row, changes the counters alone.

    Args:
      loss: rows' losses.
      config: the stage's optimizer.
      first_step: ``TrainState.step`` at which the stage begins.
      steps: length of the stage.
      log_every: the interval sums restart after every so many steps.
    """
    optimizer = make_optimizer(config)
    schedule = make_schedule(config, steps)

    def summed(params, quant_stats, batch, key):
        rows = loss(params, quant_stats, batch, key)
        # A select on the inside of the sum: a NaN in a row that is left out stays out.
        total = jnp.sum(jnp.where(rows.feasible, rows.loss, 0.0).astype(jnp.float32))
        return total, rows

    def update(state: TrainState, batch: PyTree) -> tuple[TrainState, StepReport]:
        stage_step = state.step - first_step
        (total, gradients), rows = _accumulate(
            jax.value_and_grad(summed, has_aux=True), state, batch, config.accumulation
        )
        count = jnp.sum(rows.feasible)
        gradients = jax.tree.map(lambda g: g / jnp.maximum(count, 1), gradients)
        norm = optax.global_norm(gradients)
        applied = jnp.isfinite(total) & jnp.isfinite(norm) & (count > 0)

        def select(new, old):
            return jax.tree.map(lambda n, o: jnp.where(applied, n, o), new, old)

        learning_rate = schedule(stage_step)
        deltas, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = jax.tree.map(lambda p, d: p - learning_rate * d, state.params, deltas)
        ema_params = update_ema(state.ema_params, params, config.ema_decay, stage_step)

        interval = _next_interval(state, rows, log_every)
        interval = replace(
            interval,
            loss=interval.loss + jnp.where(applied, total, 0.0),
            rows=interval.rows + jnp.where(applied, count, 0),
            labels=interval.labels
            + jnp.where(applied, jnp.sum(jnp.where(rows.feasible, rows.labels, 0)), 0),
            gradient_norm=interval.gradient_norm + jnp.where(applied, norm, 0.0),
            updates=interval.updates + applied,
        )
        in_a_row = jnp.where(applied, 0, state.skips.in_a_row + 1)
        skips = Skips(
            batches=state.skips.batches + ~applied,
            in_a_row=in_a_row,
            longest_run=jnp.maximum(state.skips.longest_run, in_a_row),
            infeasible_rows=state.skips.infeasible_rows
            + jnp.sum(rows.present & ~rows.feasible, dtype=jnp.int32),
        )
        state = replace(
            state,
            step=state.step + 1,
            params=select(params, state.params),
            ema_params=select(ema_params, state.ema_params),
            opt_state=select(opt_state, state.opt_state),
            interval=interval,
            skips=skips,
        )
        return state, StepReport(interval, skips, learning_rate)

    return update


def calibration_update(
    observe: ObserveFunction, describe: LossFunction, *, log_every: int
) -> Update:
    """An update that takes a batch's ranges into ``quant_stats`` and leaves parameters alone.

    Args:
      observe: the forward pass with observers; it sees the averaged parameters, which serve.
      describe: rows' losses under float arithmetic, logged beside.
      log_every: the interval sums restart after every so many steps.
    """

    def update(state: TrainState, batch: PyTree) -> tuple[TrainState, StepReport]:
        rows = describe(state.ema_params, state.quant_stats, batch, state.step_key())
        interval = _next_interval(state, rows, log_every)
        interval = replace(
            interval,
            loss=interval.loss + jnp.sum(jnp.where(rows.feasible, rows.loss, 0.0)),
            rows=interval.rows + jnp.sum(rows.feasible),
            labels=interval.labels + jnp.sum(jnp.where(rows.feasible, rows.labels, 0)),
            updates=interval.updates + 1,
        )
        state = replace(
            state,
            step=state.step + 1,
            quant_stats=observe(state.ema_params, state.quant_stats, batch),
            interval=interval,
        )
        return state, StepReport(interval, state.skips, jnp.zeros(()))

    return update


def _next_interval(state: TrainState, rows: RowLosses, log_every: int) -> IntervalSums:
    """The interval's sums, begun afresh after a log record, with this batch's size added."""
    fresh = state.step % log_every == 0
    interval = jax.tree.map(lambda x: jnp.where(fresh, 0.0, x), state.interval)
    return replace(
        interval,
        audio_seconds=interval.audio_seconds + jnp.sum(rows.audio_seconds),
        utterances=interval.utterances + jnp.sum(rows.present),
    )


def _accumulate(value_and_grad, state: TrainState, batch: PyTree, microbatches: int):
    """Sums of the loss and its gradient over microbatches, and all rows' descriptions."""
    key = state.step_key()
    if microbatches == 1:
        (total, rows), gradients = value_and_grad(state.params, state.quant_stats, batch, key)
        return (total, gradients), rows

    size = jax.tree.leaves(batch)[0].shape[0]
    if size % microbatches:
        raise ValueError(f"a batch of {size} rows does not divide into {microbatches} microbatches")

    def split(x):
        # Strided, so that each device's rows spread over all microbatches and none is moved.
        return jnp.swapaxes(x.reshape(size // microbatches, microbatches, *x.shape[1:]), 0, 1)

    def body(sums, inputs):
        micro, micro_key = inputs
        (total, rows), gradients = value_and_grad(state.params, state.quant_stats, micro, micro_key)
        return jax.tree.map(jnp.add, sums, (total, gradients)), rows

    zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.params))
    keys = jax.random.split(key, microbatches)
    sums, rows = jax.lax.scan(body, zeros, (jax.tree.map(split, batch), keys))
    return sums, jax.tree.map(lambda x: x.reshape(-1), rows)
