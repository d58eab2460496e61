"""Memory and time of the encoder's training step against the length of one utterance.

    python -m benchmarks.temporal_gradients --output=temporal_gradients.json

The encoder is the shipped model's (3 LSTMs of 288 units at 25 Hz). The step is the forward pass
and the gradient of all parameters for given gradients of the outputs, so the loss, whose memory
has its own bound (``losses.factored``), takes no part. Memory is the compiler's own count of the
program's temporary buffers: parameters, features and gradients of the parameters are not in it.
"""

import dataclasses
import itertools
import json
import pathlib
import time

from absl import flags

from rnnt_qat.infra.program import run

_OUTPUT = flags.DEFINE_string("output", "temporal_gradients.json", "File for the figures.")
_SECONDS = flags.DEFINE_list("seconds", ["10", "60", "600"], "Lengths of the utterance.")
_POLICIES = flags.DEFINE_list("policies", ["float32", "ethos_u_8x8_16"], "Arithmetic.")
_GRADIENTS = flags.DEFINE_list(
    "gradients", ["full", "truncated", "online", "spatial"], "Paths through time."
)
_WINDOW_SECONDS = flags.DEFINE_float("window_seconds", 4.0, "Length of a window.")
_ROUNDS = flags.DEFINE_integer("rounds", 1, "Steps that are timed, after one that is not.")


def measure(policy_name: str, kind: str, in_windows: bool, seconds: float) -> dict[str, float]:
    """Compiles and times one step.

    Args:
      policy_name: arithmetic of the encoder.
      kind: ``TemporalGradient.kind``.
      in_windows: whether the encoder runs in windows, each recomputed in the backward pass.
      seconds: length of the utterance.

    Returns:
      Megabytes (10^6) of temporary buffers and of outputs of the encoder, and CPU seconds.
    """
    import jax
    import jax.numpy as jnp

    from experiments.configs import assistant
    from rnnt_qat.layers.temporal_gradient import TemporalGradient
    from rnnt_qat.models.recurrent import LSTMConfig
    from rnnt_qat.models.rnnt import RNNT
    from rnnt_qat.quant.policies import policy_by_name
    from rnnt_qat.quant.quantized_module import QUANT_STATS

    experiment = assistant.experiment()
    window, frames = (
        round(1000 * s / experiment.frontend.frame_ms) for s in (_WINDOW_SECONDS.value, seconds)
    )
    own_window = window // experiment.model.encoder.time_reduction if kind == "truncated" else 0
    encoder = dataclasses.replace(
        experiment.model.encoder,
        dropout_rate=0.0,
        window_frames=window if in_windows else 0,
        layer=LSTMConfig(TemporalGradient(kind, own_window)),
    )
    model = dataclasses.replace(experiment.model, encoder=encoder)
    policy = policy_by_name(policy_name)
    features = 0.4 * jax.random.normal(
        jax.random.key(0), (1, frames, experiment.frontend.feature_size)
    )
    labels = jnp.ones((1, 1), jnp.int32), jnp.ones(1, jnp.int32)

    def inputs(features):
        return features, jnp.full(1, features.shape[1]), *labels

    first = inputs(features[:, : min(frames, window)])
    variables = RNNT(model, policy_by_name("float32")).init(jax.random.key(1), *first)
    _, ranges = RNNT(model, policy.calibration()).apply(variables, *first, mutable=[QUANT_STATS])
    variables = variables | ranges

    def loss(params, features, cotangent):
        network = {**variables, "params": variables["params"] | {"encoder": params}}
        encoded = RNNT(model, policy).apply(network, *inputs(features)).encoded
        return jnp.sum(encoded * cotangent)

    shape = (1, frames // encoder.time_reduction, model.joint_size)
    cotangent = jax.random.normal(jax.random.key(2), shape)
    arguments = variables["params"]["encoder"], features, cotangent
    compiled = jax.jit(jax.grad(loss)).lower(*arguments).compile()
    memory = compiled.memory_analysis()
    jax.block_until_ready(compiled(*arguments))
    times = []
    for _ in range(_ROUNDS.value):
        begun = time.process_time()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.process_time() - begun)
    return {
        "temporary_mb": memory.temp_size_in_bytes / 1e6,
        "outputs_mb": cotangent.nbytes / 1e6,
        "cpu_s": min(times),
    }


def main() -> None:
    """Prints a table for each policy."""
    found = {}
    lengths = [float(s) for s in _SECONDS.value]
    for policy in _POLICIES.value:
        heads = [f"{s:g} s: MB | CPU s" for s in lengths]
        print(f"\n{policy}\n\n| gradient | kept | {' | '.join(heads)} |")
        print(f"|---|---|{'---:|---:|' * len(lengths)}")
        for in_windows, kind in itertools.product((False, True), _GRADIENTS.value):
            cells = []
            for seconds in lengths:
                row = measure(policy, kind, in_windows, seconds)
                found[f"{policy}/{kind}/{in_windows}/{seconds:g}"] = row
                cells.append(f"{row['temporary_mb']:.1f} | {row['cpu_s']:.2f}")
            kept = f"{_WINDOW_SECONDS.value:g} s" if in_windows else "all"
            print(f"| {kind} | {kept} | {' | '.join(cells)} |", flush=True)
            pathlib.Path(_OUTPUT.value).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    run(main)
