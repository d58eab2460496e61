"""AdamW with warmup, decay and clipping, as one optax chain that ends in the learning rate."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from rnnt_qat.training.state import AwareParams
from rnnt_qat.typing import Array, Bool, Float, Int, PyTree


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Hyperparameters of the optimizer in one stage.

    Attributes:
      learning_rate: peak learning rate, reached after the warmup.
      warmup_steps: number of steps of linear increase to the peak.
      decay: shape of the decay from the peak to the stage's end.
      final_fraction: learning rate at the stage's end as a fraction of the peak.
      beta1: decay of Adam's first moment (Kingma and Ba 2015).
      beta2: decay of Adam's second moment.
      epsilon: constant added to the root of the second moment.
      weight_decay: decoupled decay (Loshchilov and Hutter 2019) of parameters of rank >= 2.
      clip_norm: global gradient norm above which gradients are scaled down.
      ema_decay: decay of the parameters' moving average, in [0, 1); 0 disables averaging.
      accumulation: number of microbatches per batch; more of them need less memory.
    """

    learning_rate: float = 1e-3
    warmup_steps: int = 100
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    final_fraction: float = 0.02
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-8
    weight_decay: float = 1e-3
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    accumulation: int = 1

    def __post_init__(self):
        if self.decay not in _DECAYS:
            raise ValueError(f"decay is {self.decay!r}; it must be one of {sorted(_DECAYS)}")
        for name in ("learning_rate", "clip_norm", "epsilon"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        for name in ("beta1", "beta2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie in [0, 1)")
        if not 0 <= self.final_fraction <= 1:
            raise ValueError(f"final_fraction is {self.final_fraction}; it must lie in [0, 1]")
        for name in ("warmup_steps", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.accumulation < 1:
            raise ValueError(f"accumulation is {self.accumulation}; it must be at least 1")


# Each maps the progress of the decay, in [0, 1], to a factor that decreases from 1 to 0, except for
# the constant.
_DECAYS: dict[str, Callable[[Array], Array]] = {
    "cosine": lambda progress: 0.5 * (1 + jnp.cos(jnp.pi * progress)),
    "linear": lambda progress: 1 - progress,
    "constant": jnp.ones_like,
}


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Returns the learning rate as a function of the step within a stage.

    ``optax.warmup_cosine_decay_schedule`` has the same shape, but starts at a rate of zero, which
    wastes the first batch, and supports cosine decay only.

    Args:
      config: peak, warmup and decay.
      steps: length of the stage.
    """
    decay = _DECAYS[config.decay]
    decay_steps = max(steps - config.warmup_steps, 1)

    def learning_rate(step: Int[Array, ""]) -> Float[Array, ""]:
        warmup = jnp.minimum((step + 1) / max(config.warmup_steps, 1), 1.0)
        progress = jnp.clip((step - config.warmup_steps) / decay_steps, 0.0, 1.0)
        floor = config.final_fraction
        return config.learning_rate * warmup * (floor + (1 - floor) * decay(progress))

    return learning_rate


def make_optimizer(
    config: OptimizerConfig, steps: int, range_rate: float | None = None
) -> optax.GradientTransformation:
    """Returns the optimizer of a stage, learning rate included.

    Args:
      config: hyperparameters for the network's parameters.
      steps: length of the stage, over which the learning rate decays.
      range_rate: learning rate of trained ranges as a multiple of the network's; the parameters are
        then ``AwareParams``. Ranges have no weight decay. Their gradients are clipped separately,
        because each sums over a whole tensor and would dominate the network's gradient norm. None
        if no ranges are trained.
    """
    clip = optax.clip_by_global_norm(config.clip_norm)
    adam = optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)
    direction = optax.chain(
        clip, adam, optax.add_decayed_weights(config.weight_decay, mask=_decayed)
    )
    if range_rate is not None:
        ranges = optax.chain(clip, adam, optax.scale(range_rate))
        labels = AwareParams(network="network", ranges="ranges")
        direction = optax.partition({"network": direction, "ranges": ranges}, labels)
    # The schedule is outermost, so that the state is a pair: the direction's and the step count.
    return optax.chain(direction, optax.scale_by_learning_rate(make_schedule(config, steps)))


def keep_skipped(applied: Bool[Array, ""], new: PyTree, old: PyTree) -> PyTree:
    """Selects the optimizer's state after a batch, which may have been skipped.

    Schedule counts always advance: they count batches, as ``TrainState.step`` does, so that a
    skipped batch does not shift the learning rates of the following ones.

    Args:
      applied: whether the update was applied; boolean scalar.
      new: optimizer state after the update.
      old: optimizer state before the update.

    Returns:
      ``new`` if applied, else ``old`` with the schedule counts of ``new``.
    """

    def is_schedule(node: PyTree) -> bool:
        return isinstance(node, optax.ScaleByScheduleState)

    def select(new: PyTree, old: PyTree) -> PyTree:
        return new if is_schedule(new) else jnp.where(applied, new, old)

    return jax.tree.map(select, new, old, is_leaf=is_schedule)


def _decayed(params: PyTree) -> PyTree:
    """Returns the mask of decayed parameters: matrices, but not biases, scales or other vectors."""
    return jax.tree.map(lambda p: p.ndim >= 2, params)


def update_ema(
    ema_params: PyTree, params: PyTree, decay: float, stage_step: Int[Array, ""]
) -> PyTree:
    """Computes one step of the parameters' exponential moving average.

    The decay is smaller in early steps, so that the initial parameters are forgotten quickly.

    Args:
      ema_params: the average before this step.
      params: the parameters after this step's update.
      decay: asymptotic decay, in [0, 1).
      stage_step: number of batches processed in the stage before this one; int32 scalar.

    Returns:
      The new average, in the structure of ``params``.
    """
    decay_now = jnp.minimum(decay, (1.0 + stage_step) / (10.0 + stage_step))
    return jax.tree.map(lambda e, p: decay_now * e + (1 - decay_now) * p, ema_params, params)
