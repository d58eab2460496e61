"""Train another project's Flax model through a chip's arithmetic: the library in one file.

Needs the core package alone (``pip install .``). The model below is not this repository's: it takes
the quantized LSTM as a layer and the transducer loss as a function. It learns to copy random labels
from random features, in floating point first and then on an Arm Ethos-U.

    python -m experiments.examples.library
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rnnt_qat.layers.lstm import LSTM
from rnnt_qat.losses import transducer_loss
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.qtensor import dequantize
from rnnt_qat.quant.quantized_module import QUANT_STATS

BATCH, LABELS, VOCABULARY, WIDTH = 16, 4, 6, 32
FRAMES = 2 * LABELS


class MyTransducer(nn.Module):
    """A transducer of one's own: an LSTM encoder whose arithmetic a policy decides."""

    policy: PrecisionPolicy

    @nn.compact
    def __call__(self, features, labels):
        """``[B, T, F]`` and ``[B, U]`` to the lattice's logits ``[B, T, U + 1, V]``."""
        mask = jnp.ones(features.shape[:2], bool)
        encoded, _, _ = LSTM(self.policy, WIDTH, name="encoder")(features, mask)
        history = jnp.pad(labels, ((0, 0), (1, 0)))
        predicted = nn.Embed(VOCABULARY, WIDTH)(history)
        joint = jnp.tanh(dequantize(encoded)[:, :, None] + predicted[:, None])
        return nn.Dense(VOCABULARY)(joint)


def batch(key):
    """Labels, and features in which each label lasts two frames."""
    labels = jax.random.randint(key, (BATCH, LABELS), 1, VOCABULARY)
    return jnp.repeat(jax.nn.one_hot(labels, VOCABULARY), 2, axis=1), labels


def train(policy, variables, steps, rate=1e-2):
    """Variables after some steps, and the losses (nats a row) on the way."""
    model, optimizer = MyTransducer(policy), optax.adam(rate)

    def loss_of(params, ranges, features, labels):
        logits: Any = model.apply({"params": params, QUANT_STATS: ranges}, features, labels)
        frames, lengths = jnp.full(BATCH, FRAMES), jnp.full(BATCH, LABELS)
        return transducer_loss(logits, frames, labels, lengths).mean()

    def step(carry, key):
        params, state = carry
        loss, gradient = jax.value_and_grad(loss_of)(params, ranges, *batch(key))
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), loss

    params, ranges = variables["params"], variables.get(QUANT_STATS, {})
    keys = jax.random.split(jax.random.key(1), steps)
    (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), keys)
    return {**variables, "params": params}, losses


def main(steps: int = 300) -> dict[str, float]:
    """Trains, calibrates and trains on; last losses by stage."""
    chip = policy_by_name("ethos_u_8x8_16")
    example = batch(jax.random.key(0))
    variables = MyTransducer(policy_by_name("float32")).init(jax.random.key(0), *example)
    variables, float_losses = train(policy_by_name("float32"), variables, steps)
    _, ranges = MyTransducer(chip.calibration()).apply(variables, *example, mutable=[QUANT_STATS])
    _, chip_losses = train(chip, {**variables, **ranges}, steps // 3, rate=1e-3)
    report = {
        "first, float": float(float_losses[0]),
        "last, float": float(float_losses[-10:].mean()),
        "last, on the chip": float(chip_losses[-10:].mean()),
    }
    for stage, loss in report.items():
        print(f"{stage:18} {loss:.4f} nats a row")
    return report


if __name__ == "__main__":
    main()
