"""Everything a run is, as one pytree: restoring it continues the run to the bit."""

from collections.abc import Iterable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from rnnt_qat.typing import Array, Float, Int, PRNGKey, PyTree


@flax.struct.dataclass
class IntervalSums:
    """Sums over the updates since the last log record; they live on the device.

    Attributes:
      loss: summed negative log-likelihood (nats) of the rows of applied updates.
      rows: utterances those updates learned from.
      labels: their tokens.
      gradient_norm: summed global norms before clipping, one an applied update.
      updates: applied updates.
      audio_seconds: audio of all rows seen, applied or not.
      utterances: all rows seen, padding rows not counted.
      terms: summed terms of the objectives by name, of the rows of applied updates.
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
        """An empty interval of a stage whose objectives have these terms."""

        def zero() -> Array:
            return jnp.zeros((), jnp.float32)  # a buffer each: the state is donated

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
    """Batches and rows that were not learned from; int32 counts since the run began.

    Attributes:
      batches: updates not applied: loss or gradient not finite, or no feasible row.
      in_a_row: of these, the ones since the last applied update.
      longest_run: the largest ``in_a_row`` so far.
      infeasible_rows: utterances that no alignment explains, left out of their batch's loss.
    """

    batches: Int[Array, ""]
    in_a_row: Int[Array, ""]
    longest_run: Int[Array, ""]
    infeasible_rows: Int[Array, ""]

    @classmethod
    def zero(cls) -> "Skips":
        """Nothing skipped yet."""
        return cls(*(jnp.zeros((), jnp.int32) for _ in range(4)))


@flax.struct.dataclass
class AwareParams:
    """What accelerator-aware training trains where the ranges are trained too.

    Attributes:
      network: the network's parameters.
      ranges: those that ranges come from, in the tree of ``quant_stats``.
    """

    network: PyTree
    ranges: PyTree


@flax.struct.dataclass
class TrainState:
    """The whole state of training.

    Attributes:
      step: batches consumed over all stages, int32; skipped batches count.
      params: float32 parameters; ``AwareParams`` in a stage that trains ranges.
      ema_params: exponential moving average of ``params``: what is evaluated and served.
      opt_state: the optimizer's state in this stage, the schedule's step included; empty where
        nothing is optimized.
      quant_stats: the quantization ranges, float32.
      key_data: the run's random key as uint32 words; a step's key is folded from it and ``step``.
      interval: sums since the last log record.
      skips: counts of what was not learned from.
      hooks: the state of each of the stage's hooks, in their order.
      teacher: parameters of the stage's teacher; empty where it has none.
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
        """The state before the first step, with no optimizer yet."""
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            ema_params=jax.tree.map(jnp.copy, params),  # donation needs buffers of its own
            opt_state=(),
            quant_stats=quant_stats,
            key_data=jax.random.key_data(jax.random.key(seed)),
            interval=IntervalSums.zero(),
            skips=Skips.zero(),
        )

    def step_key(self) -> PRNGKey:
        """The key of the current step: the same whatever happened on the way to it."""
        return jax.random.fold_in(jax.random.wrap_key_data(self.key_data), self.step)


def parameter_count(params: PyTree) -> int:
    """Number of scalars in a tree of parameters."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
