"""The training update: applies gradients, or skips the batch if they are not finite."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from rnnt_qat.infra.mesh import summed_over_shards
from rnnt_qat.training.hooks import Hook, after_update
from rnnt_qat.training.optimizer import (
    OptimizerConfig,
    keep_skipped,
    make_optimizer,
    make_schedule,
    update_ema,
)
from rnnt_qat.training.state import IntervalSums, Skips, TrainState
from rnnt_qat.typing import Array, Bool, Float, Int, PRNGKey, PyTree


@flax.struct.dataclass
class RowLosses:
    """Losses and sizes of the B rows of a batch.

    Attributes:
      loss: loss to minimise, in nats; valid only where ``feasible``.
      present: False for padding rows.
      feasible: False if the labels have no valid alignment; implies ``present``.
      labels: number of tokens of the row.
      audio_seconds: seconds of audio of the row.
      terms: unweighted objective terms by name, for records only.
    """

    loss: Float[Array, "B"]
    present: Bool[Array, "B"]
    feasible: Bool[Array, "B"]
    labels: Int[Array, "B"]
    audio_seconds: Float[Array, "B"]
    terms: dict[str, Float[Array, "B"]] = flax.struct.field(default_factory=dict)


@flax.struct.dataclass
class Frozen:
    """Inputs of a loss that are not trained.

    Attributes:
      quant_stats: the quantization ranges.
      teacher: parameters of the stage's teacher; empty if it has none.
    """

    quant_stats: PyTree = flax.struct.field(default_factory=dict)
    teacher: PyTree = ()


class LossFunction(Protocol):
    """A function of variables and a batch that binds a model, a frontend and objectives."""

    def __call__(
        self, params: PyTree, frozen: Frozen, batch: PyTree, step: Int[Array, ""], key: PRNGKey
    ) -> RowLosses:
        """Computes the losses of a batch's rows independently.

        Args:
          params: the trained parameters.
          frozen: inputs that are not trained.
          batch: a batch of the training iterator.
          step: number of batches processed in the stage before this one; int32 scalar. Weight
            schedules depend on it.
          key: random key for dropout and augmentation.
        """


class ObserveFunction(Protocol):
    """A forward pass that updates ``quant_stats`` with the ranges of a batch."""

    def __call__(self, params: PyTree, quant_stats: PyTree, batch: PyTree) -> PyTree:
        """Returns the ranges after this batch."""


@flax.struct.dataclass
class StepReport:
    """Statistics of a step for the host, as scalars on the device."""

    interval: IntervalSums
    skips: Skips
    learning_rate: Float[Array, ""]

    def record(self) -> dict[str, float]:
        """Returns what is recorded of a report on the host: means over the interval.

        Losses and terms are means per row in nats; they are absent if no batch was used.
        """
        interval, skips = self.interval, self.skips
        rows, labels = max(float(interval.rows), 1.0), max(float(interval.labels), 1.0)
        record = {
            "learning_rate": float(self.learning_rate),
            "skipped_batches": int(skips.batches),
            "infeasible_rows": int(skips.infeasible_rows),
        }
        if interval.updates:
            record |= {
                "loss": float(interval.loss) / rows,
                "loss_per_label": float(interval.loss) / labels,
                "gradient_norm": float(interval.gradient_norm) / float(interval.updates),
            }
            record |= {f"terms/{name}": float(term) / rows for name, term in interval.terms.items()}
        return record


@flax.struct.dataclass
class BatchSums:
    """Sums over the rows of a batch; float32 scalars, ``infeasible_rows`` int32.

    Attributes:
      loss: summed loss of feasible rows, in nats.
      rows: number of feasible rows.
      labels: number of tokens of feasible rows.
      audio_seconds: seconds of audio of all rows.
      utterances: number of rows without padding rows.
      infeasible_rows: number of utterances without a valid alignment.
      terms: objective terms summed over feasible rows.
    """

    loss: Float[Array, ""]
    rows: Float[Array, ""]
    labels: Float[Array, ""]
    audio_seconds: Float[Array, ""]
    utterances: Float[Array, ""]
    infeasible_rows: Int[Array, ""]
    terms: dict[str, Float[Array, ""]]

    @classmethod
    def of(cls, rows: RowLosses) -> "BatchSums":
        """Computes the sums over the rows."""

        def total(x: Array, dtype=jnp.float32) -> Array:
            return jnp.sum(x, dtype=dtype)

        # Select before summing, so that a NaN in an excluded row does not propagate.
        return cls(
            loss=total(jnp.where(rows.feasible, rows.loss, 0.0)),
            rows=total(rows.feasible),
            labels=total(jnp.where(rows.feasible, rows.labels, 0)),
            audio_seconds=total(rows.audio_seconds),
            utterances=total(rows.present),
            infeasible_rows=total(rows.present & ~rows.feasible, jnp.int32),
            terms={
                name: total(jnp.where(rows.feasible, term, 0.0))
                for name, term in rows.terms.items()
            },
        )


@dataclasses.dataclass(frozen=True)
class Update:
    """An update split into two programs; only the first is compiled for every batch shape.

    Attributes:
      learn: maps the state and a batch to a pytree whose shapes do not depend on the batch.
      apply: maps the state and that pytree to the next state and the step's report.
    """

    learn: Callable[[TrainState, PyTree], PyTree]
    apply: Callable[[TrainState, PyTree], tuple[TrainState, StepReport]]

    def __call__(self, state: TrainState, batch: PyTree) -> tuple[TrainState, StepReport]:
        """Runs ``learn`` and ``apply``."""
        return self.apply(state, self.learn(state, batch))


def training_update(
    loss: LossFunction,
    config: OptimizerConfig,
    mesh: Mesh,
    *,
    first_step: int,
    steps: int,
    log_every: int,
    range_rate: float | None = None,
    hooks: Sequence[Hook] = (),
) -> Update:
    """Returns an update by gradients, computed in parallel over the mesh.

    The gradient is that of the mean loss over the feasible rows of the global batch, independent
    of the numbers of microbatches and devices. If the loss or the gradient is not finite, or no
    row is feasible, the update changes only counters and schedules.

    Args:
      loss: loss function of the rows.
      config: hyperparameters of the optimizer.
      mesh: the devices over which rows are sharded.
      first_step: ``TrainState.step`` at which the stage begins.
      steps: length of the stage.
      log_every: number of steps after which the interval sums restart.
      range_rate: relative learning rate of trained ranges (``make_optimizer``).
      hooks: hooks applied to the parameters after each applied update, in order.
    """
    optimizer = make_optimizer(config, steps, range_rate)
    schedule = make_schedule(config, steps)

    def summed(params, frozen, step, key, batch):
        sums = BatchSums.of(loss(params, frozen, batch, step, key))
        return sums.loss, sums

    def gradient(whole: PyTree, rows: PyTree) -> tuple[PyTree, BatchSums]:
        return _accumulate(jax.grad(summed, has_aux=True), whole, rows, config.accumulation)

    def learn(state: TrainState, batch: PyTree) -> tuple[PyTree, BatchSums]:
        frozen = Frozen(state.quant_stats, state.teacher)
        whole = state.params, frozen, state.step - first_step, state.step_key()
        return summed_over_shards(gradient, mesh)(whole, batch)

    def apply(
        state: TrainState, learned: tuple[PyTree, BatchSums]
    ) -> tuple[TrainState, StepReport]:
        gradients, sums = learned
        gradients = jax.tree.map(lambda g: g / jnp.maximum(sums.rows, 1.0), gradients)
        norm = optax.global_norm(gradients)
        applied = jnp.isfinite(sums.loss) & jnp.isfinite(norm) & (sums.rows > 0)

        def select(new, old):
            return jax.tree.map(lambda n, o: jnp.where(applied, n, o), new, old)

        stage_step = state.step - first_step
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        params, hook_states, average = after_update(hooks, params, state.hooks, stage_step)
        ema_params = average(update_ema(state.ema_params, params, config.ema_decay, stage_step))

        in_a_row = jnp.where(applied, 0, state.skips.in_a_row + 1)
        skips = Skips(
            batches=state.skips.batches + ~applied,
            in_a_row=in_a_row,
            longest_run=jnp.maximum(state.skips.longest_run, in_a_row),
            infeasible_rows=state.skips.infeasible_rows + sums.infeasible_rows,
        )
        state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=select(params, state.params),
            ema_params=select(ema_params, state.ema_params),
            opt_state=keep_skipped(applied, opt_state, state.opt_state),
            hooks=select(hook_states, state.hooks),
            interval=_next_interval(state, sums, applied, norm, log_every),
            skips=skips,
        )
        return state, StepReport(state.interval, skips, schedule(stage_step))

    return Update(learn, apply)


def calibration_update(
    observe: ObserveFunction, describe: LossFunction, *, log_every: int
) -> Update:
    """Returns an update that adds a batch's ranges to ``quant_stats`` and keeps the parameters.

    Args:
      observe: forward pass with observers, run with the averaged parameters, which are served.
      describe: loss function of the rows in floating point, for records only.
      log_every: number of steps after which the interval sums restart.
    """

    def learn(state: TrainState, batch: PyTree) -> tuple[PyTree, BatchSums]:
        frozen = Frozen(state.quant_stats)
        rows = describe(state.ema_params, frozen, batch, jnp.zeros((), jnp.int32), state.step_key())
        return observe(state.ema_params, state.quant_stats, batch), BatchSums.of(rows)

    def apply(
        state: TrainState, learned: tuple[PyTree, BatchSums]
    ) -> tuple[TrainState, StepReport]:
        quant_stats, sums = learned
        interval = _next_interval(state, sums, jnp.array(True), jnp.zeros(()), log_every)
        state = dataclasses.replace(
            state, step=state.step + 1, quant_stats=quant_stats, interval=interval
        )
        return state, StepReport(interval, state.skips, jnp.zeros(()))

    return Update(learn, apply)


def _next_interval(
    state: TrainState,
    sums: BatchSums,
    applied: Bool[Array, ""],
    norm: Float[Array, ""],
    log_every: int,
) -> IntervalSums:
    """Adds a batch to the interval's sums, which restart after each log record."""
    fresh = state.step % log_every == 0
    new = IntervalSums(
        loss=jnp.where(applied, sums.loss, 0.0),
        rows=jnp.where(applied, sums.rows, 0.0),
        labels=jnp.where(applied, sums.labels, 0.0),
        gradient_norm=jnp.where(applied, norm, 0.0),
        updates=applied.astype(jnp.float32),
        audio_seconds=sums.audio_seconds,
        utterances=sums.utterances,
        terms={name: jnp.where(applied, term, 0.0) for name, term in sums.terms.items()},
    )
    return jax.tree.map(lambda old, x: jnp.where(fresh, 0.0, old) + x, state.interval, new)


def _accumulate(gradient, whole: PyTree, batch: PyTree, microbatches: int):
    """Accumulates the gradient of the summed loss and the batch's sums over microbatches."""

    def learn(micro):
        return gradient(*whole, micro)

    if microbatches == 1:
        return learn(batch)

    size = jax.tree.leaves(batch)[0].shape[0]
    if size % microbatches:
        raise ValueError(f"a batch of {size} rows does not divide into {microbatches} microbatches")

    def split(x):
        return x.reshape(microbatches, size // microbatches, *x.shape[1:])

    micros = jax.tree.map(split, batch)
    shapes = jax.eval_shape(learn, jax.tree.map(lambda x: x[0], micros))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def body(sums, micro):
        return jax.tree.map(jnp.add, sums, learn(micro)), None

    return jax.lax.scan(body, zeros, micros)[0]
