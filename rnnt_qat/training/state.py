"""The complete state of a run as one pytree; restoring it continues the run bit-exactly."""

from collections.abc import Iterable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.typing import Array, Float, Int, PRNGKey, PyTree


@flax.struct.dataclass
class IntervalSums:
    """Sums over the updates since the last log record, on the device; float32 scalars.

    Attributes:
      loss: summed negative log-likelihood (nats) of the rows of applied updates.
      rows: number of utterances in applied updates.
      labels: number of tokens of those utterances.
      gradient_norm: sum over applied updates of the global gradient norm before clipping.
      updates: number of applied updates.
      audio_seconds: seconds of audio in all batches, applied or not.
      utterances: number of utterances in all batches, without padding rows.
      terms: summed objective terms by name, of the rows of applied updates.
    """

    loss: Float[Array, ""]
    rows: Float[Array, ""]
    labels: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    updates: Float[Array, ""]
    audio_seconds: Float[Array, ""]
    utterances: Float[Array, ""]
    terms: dict[str, Float[Array, ""]] = flax.struct.field(default_factory=dict)

    @classmethod
    def zero(cls, terms: Iterable[str] = ()) -> "IntervalSums":
        """Returns an empty interval for a stage whose objectives have these terms."""

        def zero() -> Array:
            return jnp.zeros((), jnp.float32)  # one buffer per field, because the state is donated

        return cls(
            loss=zero(),
            rows=zero(),
            labels=zero(),
            gradient_norm=zero(),
            updates=zero(),
            audio_seconds=zero(),
            utterances=zero(),
            terms={name: zero() for name in terms},
        )


@flax.struct.dataclass
class Skips:
    """Numbers of skipped batches and rows since the run began; int32 scalars.

    Attributes:
      batches: updates that were not applied, because the loss or the gradient was not finite or no
        row was feasible.
      in_a_row: consecutive skipped updates up to now.
      longest_run: maximum of ``in_a_row`` so far.
      infeasible_rows: utterances without a valid alignment, excluded from their batch's loss.
    """

    batches: Int[Array, ""]
    in_a_row: Int[Array, ""]
    longest_run: Int[Array, ""]
    infeasible_rows: Int[Array, ""]

    @classmethod
    def zero(cls) -> "Skips":
        """Returns zero counts."""
        return cls(*(jnp.zeros((), jnp.int32) for _ in range(4)))


@flax.struct.dataclass
class AwareParams:
    """Trained parameters of a stage that also trains ranges.

    Attributes:
      network: the network's parameters.
      ranges: parameters of the ranges, in the structure of ``quant_stats``.
    """

    network: PyTree
    ranges: PyTree


@flax.struct.dataclass
class TrainState:
    """The complete training state.

    Attributes:
      step: number of batches processed over all stages, int32, including skipped batches.
      params: float32 parameters; ``AwareParams`` in a stage that trains ranges.
      ema_params: exponential moving average of ``params``, used for evaluation and serving.
      opt_state: the stage's optimizer state, including the schedule's step; empty in a stage
        without an optimizer.
      quant_stats: the quantization ranges, float32.
      key_data: the run's random key as uint32 words; each step's key is derived from it and
        ``step``.
      interval: sums since the last log record.
      skips: numbers of skipped batches and rows.
      hooks: states of the stage's hooks, in order.
      teacher: parameters of the stage's teacher; empty if it has none.
    """

    step: Int[Array, ""]
    params: PyTree
    ema_params: PyTree
    opt_state: PyTree
    quant_stats: PyTree
    key_data: Array
    interval: IntervalSums
    skips: Skips
    hooks: tuple[PyTree, ...] = ()
    teacher: PyTree = ()

    @classmethod
    def create(cls, params: PyTree, quant_stats: PyTree, seed: int) -> "TrainState":
        """Returns the state before the first step, without an optimizer.

        Args:
          params: the network's initial parameters, float32.
          quant_stats: the initial quantization ranges, float32.
          seed: seed of the run's random key.
        """
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            ema_params=copied(params),
            opt_state=(),
            quant_stats=quant_stats,
            key_data=jax.random.key_data(jax.random.key(seed)),
            interval=IntervalSums.zero(),
            skips=Skips.zero(),
        )

    def step_key(self) -> PRNGKey:
        """Returns the random key of the current step, which depends on the seed and step only."""
        return jax.random.fold_in(jax.random.wrap_key_data(self.key_data), self.step)


def copied(tree: PyTree) -> PyTree:
    """Returns copies of arrays, because two fields of a donated state must not share a buffer."""
    return jax.tree.map(jnp.copy, tree)


def parameter_count(params: PyTree) -> int:
    """Returns the number of scalars in a tree of parameters."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
