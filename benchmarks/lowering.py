"""What an accelerator is given: operations of the loops in programs lowered for CUDA and TPU.

    python -m benchmarks.lowering --output=lowering.json

No accelerator is needed: JAX lowers for platforms that are not there. Recurrences, the loss and the
search are loops whose turns wait for each other, so what a turn consists of decides the speed: a
turn of few operations is one or two kernels after fusion, while a gather, a scatter or a call to
the host in it is a kernel of its own or worse. Counted are operations of StableHLO before fusion,
without reshapes and broadcasts; *constant* are those that are the same in every turn. ``--tiny`` is
the same with small sizes.
"""

import dataclasses
import json
import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks.loops import Body, bodies
from rnnt_qat.infra.program import run

_OUTPUT = flags.DEFINE_string("output", "lowering.json", "file for the counts")
_PLATFORMS = flags.DEFINE_list("platforms", ["cuda", "tpu"], "platforms to lower for")
_ONLY = flags.DEFINE_string("only", "", "part of the names of the programs to lower; all if empty")
_TINY = flags.DEFINE_bool("tiny", False, "small sizes and few programs, to try the command")

Program = tuple[Callable, tuple[Any, ...]]
"""A function and its arguments, which may be shapes."""


def shaped(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    """Returns an array's shape."""
    return jax.ShapeDtypeStruct(shape, dtype)


def loss(form: str, tiny: bool) -> Program:
    """The transducer loss with its gradients.

    Args:
      form: ``logits``, ``factored`` or ``pruned``.
      tiny: whether sizes are small.
    """
    from rnnt_qat.losses import transducer_loss, transducer_loss_factored, transducer_loss_pruned
    from rnnt_qat.models.joint import JointHead
    from rnnt_qat.quant.operators import FloatOperators

    B, T, U, V, J = (2, 8, 3, 5, 4) if tiny else (8, 200, 50, 512, 512)
    lengths = shaped(B, dtype=jnp.int32), shaped(B, U, dtype=jnp.int32), shaped(B, dtype=jnp.int32)
    if form == "logits":

        def of_logits(logits, frames, labels, counts):
            return transducer_loss(logits, frames, labels, counts).sum()

        return jax.value_and_grad(of_logits), (shaped(B, T, U + 1, V), *lengths)
    joint = shaped(B, T, J), shaped(B, U + 1, J), shaped(J, V), shaped(V)
    if form == "factored":

        def factored(e, p, kernel, bias, *lengths):
            head = JointHead(FloatOperators(), kernel, bias)
            return transducer_loss_factored(head, e, p, *lengths, chunk_frames=32).sum()

        return jax.value_and_grad(factored, (0, 1, 2, 3)), (*joint, *lengths)

    def pruned(e, p, kernel, bias, se, sp, *lengths):
        head = JointHead(FloatOperators(), kernel, bias)
        both = transducer_loss_pruned(head, e, p, se, sp, *lengths, chunk_frames=32)
        return sum(x.sum() for x in both)

    simple = shaped(B, T, V), shaped(B, U + 1, V)
    return jax.value_and_grad(pruned, tuple(range(6))), (*joint, *simple, *lengths)


def recurrence(policy_name: str, tiny: bool) -> Program:
    """An LSTM layer, forward and backward.

    Args:
      policy_name: its arithmetic.
      tiny: whether sizes are small.
    """
    from rnnt_qat.layers.lstm import LSTM
    from rnnt_qat.quant.policies import policy_by_name
    from rnnt_qat.quant.qtensor import dequantize

    B, T, H = (2, 4, 8) if tiny else (32, 200, 1024)
    layer = LSTM(policy_by_name(policy_name), H)
    xs, mask = shaped(B, T, H), shaped(B, T, dtype=jnp.bool_)
    variables = jax.eval_shape(layer.init, jax.random.key(0), xs, mask)

    def forward(params, xs, rest, mask):
        out, _, _ = layer.apply({**rest, "params": params}, xs, mask)
        return jnp.sum(dequantize(out))

    rest = {name: tree for name, tree in variables.items() if name != "params"}
    return jax.value_and_grad(forward, (0, 1)), (variables["params"], xs, rest, mask)


def search(kind: str, policy_name: str, tiny: bool) -> Program:
    """Streaming decoding of a batch from audio to tokens, in chunks of 240 ms.

    Args:
      kind: ``greedy`` or ``beam``.
      policy_name: arithmetic of the recognizer.
      tiny: whether sizes are small.
    """
    from rnnt_qat.decoding.beam import BeamConfig
    from rnnt_qat.decoding.chunk_driver import ChunkDriver
    from rnnt_qat.decoding.greedy import GreedyConfig
    from rnnt_qat.models.bound_transducer import BoundTransducer
    from rnnt_qat.models.rnnt import RNNT, example_inputs
    from rnnt_qat.quant.policies import policy_by_name

    config, frontend = _config(tiny)
    model = RNNT(config.model, policy_by_name(policy_name))
    inputs = example_inputs(config.model, config.frontend.feature_size)
    variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    chosen = GreedyConfig() if kind == "greedy" else BeamConfig(4)
    driver = ChunkDriver(frontend, chosen.build())
    streams, samples = (2, 2 * 3840) if tiny else (64, 10 * 16_000)

    def decode(variables, audio, lengths):
        return driver.decode(BoundTransducer(variables, model), audio, lengths, 240.0)

    return decode, (variables, shaped(streams, samples), shaped(streams, dtype=jnp.int32))


def training_step(policy_name: str, tiny: bool) -> Program:
    """The gradient of a batch and the optimizer's update.

    Args:
      policy_name: arithmetic; the first stage of the config for ``float32``, else the aware one.
      tiny: whether sizes are small.
    """
    from benchmarks.step_inputs import noise_batch
    from rnnt_qat.experiment.task import RecognizerTask
    from rnnt_qat.infra.mesh import make_mesh
    from rnnt_qat.quant.policies import FLOAT32, policy_by_name
    from rnnt_qat.training.state import TrainState

    config, frontend = _config(tiny)
    task = RecognizerTask(
        config.model,
        policy_by_name(policy_name),
        frontend,
        config.spec_augment,
        config.objectives,
    )
    stage = config.stage("float" if policy_name == FLOAT32 else "aware").bind(task)
    batch = noise_batch(2, 1.0, 6, config.model.vocabulary)
    if not tiny:
        batch = noise_batch(13, 3.84, 45, config.model.vocabulary)

    def begin(key):
        params = task.initial_params(key)
        ranges = {} if policy_name == FLOAT32 else task.under("").empty_ranges()
        return stage.begin(TrainState.create(params, ranges, seed=0), ())

    update = stage.make_update(0, 50, make_mesh())
    return update, (jax.eval_shape(begin, jax.random.key(0)), batch)


def _config(tiny: bool):
    """Returns the config of the sizes, and its frontend."""
    import numpy as np

    from experiments.configs import prompts, prompts_smoke
    from rnnt_qat.frontend.frontend import Frontend
    from rnnt_qat.frontend.statistics import FeatureStats

    config = (prompts_smoke if tiny else prompts).experiment()
    bins = config.frontend.log_mel.num_mel_bins
    stats = FeatureStats(np.zeros(bins, np.float32), np.ones(bins, np.float32))
    return config, Frontend(config.frontend, stats)


def programs(tiny: bool) -> Iterator[tuple[str, Callable[[], Program]]]:
    """Yields programs by name.

    Args:
      tiny: whether sizes are small.
    """
    for form in ("logits",) if tiny else ("logits", "factored", "pruned"):
        yield f"loss, {form}", lambda form=form: loss(form, tiny)
    chips = ("w8a8", "ethos_u_8x8_16", "generic_nna")
    for policy in ("float32", "ethos_u_8x8_16") if tiny else ("float32", *chips):
        yield f"LSTM, {policy}", lambda policy=policy: recurrence(policy, tiny)
    cases = (("greedy", "float32"), ("greedy", "ethos_u_8x8_16"), ("beam", "float32"))
    for kind, policy in cases[:1] if tiny else cases:
        yield (
            f"{kind} search, {policy}",
            lambda kind=kind, policy=policy: search(kind, policy, tiny),
        )
    for policy in ("w8a8",) if tiny else ("float32", *chips):
        yield f"training step, {policy}", lambda policy=policy: training_step(policy, tiny)


def lowered(program: Program, platform: str) -> list[Body]:
    """Returns the loops of a program for a platform.

    Args:
      program: function and arguments.
      platform: ``cuda``, ``tpu``, ``rocm`` or ``cpu``.
    """
    function, arguments = program
    backend = {"cuda": "gpu", "rocm": "gpu"}.get(platform, platform)
    # Operators that choose by the backend at hand must choose for this one.
    with unittest.mock.patch("jax.default_backend", return_value=backend):
        traced = jax.jit(lambda *arguments: function(*arguments)).trace(*arguments)
    return bodies(traced.lower(lowering_platforms=(platform,)).compiler_ir("stablehlo"))


_COLUMNS = ("operations", "constant", "gathers", "scatters", "slices", "updates", "reductions")


def table(name: str, found: list[Body]) -> str:
    """Returns a Markdown table of a program.

    Args:
      name: name of the program.
      found: its loops.
    """
    lines = [
        f"| {name} | turns | " + " | ".join(_COLUMNS) + " | host | products |",
        "|---|---:" + "|---:" * len(_COLUMNS) + "|---|---|",
    ]
    for body in found:
        counts = " | ".join(str(getattr(body, column)) for column in _COLUMNS)
        dots = ", ".join(f"{n} of {dot}" for dot, n in body.dots.items())
        title = f"{'> ' * body.depth}{body.name or 'outside of loops'}"
        host = ", ".join(body.host) or "-"
        lines.append(f"| {title} | {body.turns or '?'} | {counts} | {host} | {dots or '-'} |")
    return "\n".join(lines)


def main() -> None:
    """Lowers every program for every platform and prints one table of each that is different."""
    counted = {}
    for name, make in programs(_TINY.value):
        if _ONLY.value not in name:
            continue
        program = make()
        found = {platform: lowered(program, platform) for platform in _PLATFORMS.value}
        counted[name] = {
            platform: [dataclasses.asdict(body) for body in loops]
            for platform, loops in found.items()
        }
        first, *others = _PLATFORMS.value
        same = [platform for platform in others if found[platform] == found[first]]
        print(f"\n{table(f'{name}: ' + ', '.join([first, *same]), found[first])}", flush=True)
        for platform in others:
            if platform not in same:
                print(f"\n{table(f'{name}: {platform}', found[platform])}", flush=True)
    Path(_OUTPUT.value).write_text(json.dumps(counted, indent=1) + "\n")


if __name__ == "__main__":
    run(main)
