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
    """How parameters follow their gradients in one stage.

    Attributes:
      learning_rate: peak, reached after the warmup.
      warmup_steps: linear rise from zero.
      decay: shape of the fall from the peak to the stage's end.
      final_fraction: learning rate at the stage's end as a fraction of the peak.
      beta1: decay of Adam's first moment (Kingma and Ba 2015).
      beta2: decay of Adam's second moment.
      epsilon: added to the root of the second moment.
      weight_decay: decoupled decay (Loshchilov and Hutter 2019) of parameters of rank >= 2.
      clip_norm: global gradient norm above which gradients are scaled down.
      ema_decay: decay of the parameters' moving average; 0 makes it the parameters themselves.
      accumulation: microbatches that a batch is cut into, to hold less memory at once.
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


# Each maps the progress through the decay, in [0, 1], to a weight that falls from 1 to 0.
_DECAYS: dict[str, Callable[[Array], Array]] = {
    "cosine": lambda progress: 0.5 * (1 + jnp.cos(jnp.pi * progress)),
    "linear": lambda progress: 1 - progress,
    "constant": jnp.ones_like,
}


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Returns the learning rate as a function of the batches seen in a stage of ``steps`` steps.

    ``optax.warmup_cosine_decay_schedule`` draws the same curve, but begins at a rate of zero (the
    first batch would teach nothing) and knows no other decay.
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
    """Returns the optimizer of a stage: gradients to what is added to the parameters.

    Args:
      config: of the network's parameters.
      steps: length of the stage, over which the learning rate decays.
      range_rate: learning rate of trained ranges as a multiple of the network's: the parameters are
        then ``AwareParams``. Ranges do not decay, and are clipped by their own norm, which sums
        over whole tensors and would drown the network's. None where no ranges are trained.
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
    # Outermost, so that the state is a pair: the direction's, and the schedule's count.
    return optax.chain(direction, optax.scale_by_learning_rate(make_schedule(config, steps)))


def keep_skipped(applied: Bool[Array, ""], new: PyTree, old: PyTree) -> PyTree:
    """Returns the optimizer's state after a batch: ``new`` if it was learned from, else ``old``.

    Schedules alone go on: they count batches, as ``TrainState.step`` does, so that a skipped batch
    does not shift the learning rates of those that follow.
    """

    def is_schedule(node: PyTree) -> bool:
        return isinstance(node, optax.ScaleByScheduleState)

    def select(new: PyTree, old: PyTree) -> PyTree:
        return new if is_schedule(new) else jnp.where(applied, new, old)

    return jax.tree.map(select, new, old, is_leaf=is_schedule)


def _decayed(params: PyTree) -> PyTree:
    """Matrices shrink; biases, scales and other vectors do not."""
    return jax.tree.map(lambda p: p.ndim >= 2, params)


def update_ema(
    ema_params: PyTree, params: PyTree, decay: float, stage_step: Int[Array, ""]
) -> PyTree:
    """One step of the moving average; short memory early, so that the start is soon forgotten."""
    decay_now = jnp.minimum(decay, (1.0 + stage_step) / (10.0 + stage_step))
    return jax.tree.map(lambda e, p: decay_now * e + (1 - decay_now) * p, ema_params, params)
