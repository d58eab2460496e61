"""Cases of ``benchmarks.accelerator``, each a process: prints rows of JSON.

python -m benchmarks.accelerator_cases SECTION [ARGUMENT ...]

Times are of dispatched work to its end (``block_until_ready``), the median of several calls after
one that is not counted.
"""

import concurrent.futures
import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from benchmarks.energy import EnergyMeter

TINY = bool(os.environ.get("ACCELERATOR_TINY"))
HOST = bool(os.environ.get("ACCELERATOR_HOST"))
"""Sizes that one core of a CPU computes in seconds, measured in processor time, which other
processes do not change (``benchmarks.devices``)."""
ROUNDS = 3 if TINY or HOST else 7


def say(**row: object) -> None:
    """Prints a row."""
    print(json.dumps(row), flush=True)


def check_devices() -> None:
    """Notes how many devices JAX finds; ends the process if they are not ACCELERATOR_DEVICES."""
    found, expected = jax.device_count(), os.environ.get("ACCELERATOR_DEVICES")
    print(f"{found} devices", file=sys.stderr)
    if expected and found != int(expected):
        sys.exit(f"ACCELERATOR_DEVICES={expected}, but JAX finds {found} devices")


def timed(function: Callable, *arguments: object, donated: bool = False) -> dict[str, float]:
    """Compiles and times a function.

    Args:
      function: to be compiled.
      arguments: its arguments, on the device.
      donated: whether its result replaces its first argument, whose buffer is given up.
    """
    begun = time.perf_counter()
    jitted = jax.jit(function, donate_argnums=(0,) if donated else ())
    compiled = jitted.lower(*arguments).compile()
    compile_s, times = time.perf_counter() - begun, []
    meter = EnergyMeter(jax.default_backend())
    clock = time.process_time if HOST else time.perf_counter
    for number in range(ROUNDS + 1):
        if number == 1:
            meter.start()
        begun = clock()
        result = jax.block_until_ready(compiled(*arguments))
        times.append(clock() - begun)
        if donated:
            arguments = (result, *arguments[1:])
    return {
        "ms": 1e3 * statistics.median(times[1:]),
        "compile_s": compile_s,
        "peak_mb": peak_mb(),
        "joules": meter.stop() / ROUNDS,
    }


def rate(row: dict[str, float], operations: float) -> dict[str, float]:
    """Returns the rate of a measured function's products, in 10^12 operations a second."""
    return {"model_tera_per_s": 1e-12 * operations / (row["ms"] / 1e3)}


def peak_mb() -> float:
    """Returns the device's largest allocation so far in this process; NaN where it has no count."""
    statistics_of_memory = jax.local_devices()[0].memory_stats() or {}
    return statistics_of_memory.get("peak_bytes_in_use", float("nan")) / 1e6


def normal(seed: int, *shape: int) -> jax.Array:
    """Returns standard normal float32 numbers, drawn on the host."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


# --- integers ------------------------------------------------------------------------------------


def integers(what: str) -> None:
    """``write`` notes what a CPU computes; ``compare`` computes the same here and compares."""
    from rnnt_qat.quant.policies import CHIPS

    path = os.environ["ACCELERATOR_INTEGERS"]
    names = [*CHIPS, "w8a8", "ethos_u_8x8_16_w4"][:: 4 if TINY else 1]
    with concurrent.futures.ThreadPoolExecutor() as pool:  # compilers run beside each other
        if what == "write":
            found = dict(zip(names, pool.map(_calibrated, names), strict=True))
            flat = {f"{n}/{k}": v for n, arrays in found.items() for k, v in arrays.items()}
            np.savez(path, **flat)
            say(policies=len(names), arrays=len(flat))
            return
        with np.load(path) as file:
            saved = dict(file)
        found = {}
        for name, arrays in zip(names, pool.map(lambda n: _forward(n, saved), names), strict=True):
            found[name] = arrays
    say(device=jax.devices()[0].device_kind, jax=jax.__version__)
    for name, arrays in found.items():
        for key, value in arrays.items():
            expected = saved[f"{name}/{key}"]
            say(policy=name, array=key, size=value.size, differ=int(np.sum(value != expected)))
    rng = np.random.default_rng(0)
    for inner in (64, 1000, 4096):
        a, b = (rng.integers(-128, 128, shape, np.int8) for shape in ((256, inner), (inner, 256)))
        product = jax.jit(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.int32))(a, b)
        exact = a.astype(np.int64) @ b.astype(np.int64)
        say(
            policy=f"int8 product, K {inner}", size=exact.size, differ=int(np.sum(product != exact))
        )


def _small():
    from rnnt_qat.models.encoder import EncoderConfig
    from rnnt_qat.models.prediction import LSTMPredictionConfig
    from rnnt_qat.models.rnnt import RNNTConfig

    return RNNTConfig(
        vocabulary=11,
        encoder=EncoderConfig(num_layers=1, hidden_size=24, layers_before_reduction=0),
        prediction=LSTMPredictionConfig(embedding_size=12, hidden_size=16),
        joint_size=16,
    )


def _inputs():
    rng = np.random.default_rng(1)
    features = rng.standard_normal((3, 16, 10), np.float32)
    lengths = np.array([16, 11, 6], np.int32)
    return features, lengths, rng.integers(1, 11, (3, 5), np.int32), np.array([5, 3, 1], np.int32)


def _outputs(name: str):
    """Returns the forward pass under a policy: integers of both networks, and logits."""
    from rnnt_qat.models.rnnt import RNNT
    from rnnt_qat.quant.policies import policy_by_name

    def forward(variables):
        lattice = RNNT(_small(), policy_by_name(name)).apply(variables, *_inputs())
        logits = lattice.head(lattice.encoded[:, :, None], lattice.predicted[:, None])
        return {"encoded": lattice.encoded, "predicted": lattice.predicted, "logits": logits}

    return forward


def _calibrated(name: str) -> dict[str, np.ndarray]:
    from rnnt_qat.models.rnnt import RNNT
    from rnnt_qat.quant.policies import policy_by_name
    from rnnt_qat.quant.quantized_module import QUANT_STATS

    model = RNNT(_small(), policy_by_name(name).calibration())

    def calibrate(key):
        variables = model.init(key, *_inputs())
        _, observed = model.apply(variables, *_inputs(), mutable=[QUANT_STATS])
        return {"params": variables["params"], **observed}

    variables = jax.jit(calibrate)(jax.random.key(0))
    outputs = jax.jit(_outputs(name))(variables)
    leaves = {f"leaf_{n}": leaf for n, leaf in enumerate(jax.tree.leaves(variables))}
    return {k: np.asarray(v) for k, v in (leaves | outputs).items()}


def _forward(name: str, saved: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    from rnnt_qat.models.rnnt import RNNT
    from rnnt_qat.quant.policies import policy_by_name

    model = RNNT(_small(), policy_by_name(name).calibration())
    structure = jax.tree.structure(jax.eval_shape(model.init, jax.random.key(0), *_inputs()))
    leaves = [saved[f"{name}/leaf_{n}"] for n in range(structure.num_leaves)]
    outputs = jax.jit(_outputs(name))(structure.unflatten(leaves))
    return {key: np.asarray(value) for key, value in outputs.items()}


# --- parts ---------------------------------------------------------------------------------------


def matmul() -> None:
    """Products of square matrices: what the device can do at best."""
    size = 256 if TINY else 1024 if HOST else 8192
    kinds = (("float32", None), ("bfloat16", "float32"), ("int8", "int32"))
    for kind, sum_in in kinds:
        a = (10 * normal(0, size, size)).astype(kind)
        row = timed(lambda a, b, s=sum_in: jnp.matmul(a, b, preferred_element_type=s), a, a)
        say(type=kind, size=size, **row, tera_per_s=2e-12 * size**3 / (row["ms"] / 1e3))


def loss(form: str) -> None:
    """The transducer loss with its gradients, from logits or with the joint inside."""
    from benchmarks.loss_inputs import Case
    from rnnt_qat.losses import (
        transducer_loss,
        transducer_loss_factored,
        transducer_loss_pruned,
    )
    from rnnt_qat.models.joint import JointHead
    from rnnt_qat.quant.operators import FloatOperators

    sizes = ["8,200,50,512", "30,300,70,500,ragged"]
    if TINY or HOST:
        sizes = ["2,16,5,12,ragged"] if TINY else ["8,100,25,128"]
    for text in sizes:
        case = Case.parse(text)
        (frames, lengths), labels = map(jnp.asarray, case.lengths()), jnp.asarray(case.labels())
        if form == "logits":

            def of_logits(logits, frames=frames, labels=labels, lengths=lengths):
                return transducer_loss(logits, frames, labels, lengths).sum()

            row = timed(jax.value_and_grad(of_logits), jnp.asarray(case.logits()))
            say(sizes=text, form="logits", **row)
            continue
        encoded, predicted, kernel, bias = map(jnp.asarray, case.joint())

        def head(kernel, bias):
            return JointHead(FloatOperators(), kernel, bias)

        for chunk in (case.T,) if TINY else (2, 32, case.T):

            def factored(e, p, k, b, chunk=chunk, f=frames, y=labels, n=lengths):
                args = (head(k, b), e, p, f, y, n)
                return transducer_loss_factored(*args, chunk_frames=chunk).sum()

            gradient = jax.value_and_grad(factored, (0, 1, 2, 3))
            row = timed(gradient, encoded, predicted, kernel, bias)
            # Products of the lattice forward, once more, and backward to both operands.
            work = 8 * case.B * case.T * (case.U + 1) * kernel.size
            say(sizes=text, form=f"factored, {chunk} frames at once", **row, **rate(row, work))
        simple = normal(1, case.B, case.T, case.V), normal(2, case.B, case.U + 1, case.V)

        def pruned(e, p, se, sp, k, b, f=frames, y=labels, n=lengths):
            args = (head(k, b), e, p, se, sp, f, y, n)
            both = transducer_loss_pruned(*args, chunk_frames=32)
            return sum(x.sum() for x in both)

        gradient = jax.value_and_grad(pruned, tuple(range(6)))
        row = timed(gradient, encoded, predicted, *simple, kernel, bias)
        say(sizes=text, form="pruned to 5 labels", **row)


def peer(name: str) -> None:
    """A loss of PyTorch on the GPU, from logits, on the larger case of ``loss``."""
    from benchmarks.loss_inputs import Case

    try:
        import torch

        module = __import__("torchaudio.functional" if name == "torchaudio" else name)
    except (ImportError, OSError) as error:
        say(skipped=f"{name} is not installed: {error}")
        return
    if not torch.cuda.is_available():
        say(skipped="torch has no CUDA here")
        return
    for text in ("8,200,50,512", "30,300,70,500,ragged"):
        case = Case.parse(text)
        frames, lengths = (torch.from_numpy(x).cuda() for x in case.lengths())
        labels = torch.from_numpy(case.labels()).cuda()
        logits = torch.from_numpy(case.logits()).cuda().requires_grad_()
        boundary = torch.zeros((case.B, 4), dtype=torch.int64, device="cuda")
        boundary[:, 2], boundary[:, 3] = lengths, frames

        def step(logits=logits, labels=labels, f=frames, n=lengths, boundary=boundary):
            if name == "torchaudio":
                found = module.functional.rnnt_loss(logits, labels, f, n, 0, reduction="sum")
            else:
                found = module.rnnt_loss(logits, labels.long(), 0, boundary, reduction="sum")
            torch.autograd.grad(found, logits)
            torch.cuda.synchronize()

        step()
        torch.cuda.reset_peak_memory_stats()
        times = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            step()
            times.append(time.perf_counter() - begun)
        peak = torch.cuda.max_memory_allocated() / 1e6
        say(sizes=text, form=name, ms=1e3 * statistics.median(times), peak_mb=peak)


def lstm(who: str) -> None:
    """A stack of LSTMs, forward and backward: ours under policies, or Flax's and cuDNN's."""
    from benchmarks.lstm import flax_stack, our_stack
    from benchmarks.lstm_inputs import Stack

    stack = Stack(5, 1024, 32, 200)
    if TINY or HOST:
        stack = Stack(2, 16, 4, 8) if TINY else Stack(3, 256, 8, 64)
    xs, cotangent = jnp.asarray(stack.inputs()), jnp.asarray(stack.cotangent())

    def measured(name, params, run):
        gradient = jax.value_and_grad(lambda p, xs: jnp.sum(run(p, xs) * cotangent), (0, 1))
        row = timed(gradient, params, xs)
        weights = 8 * stack.layers * stack.width**2
        work = rate(row, 6 * weights * stack.rows * stack.frames)
        say(stack=str(dataclasses.astuple(stack)), form=name, **row, **work)

    if who == "ours":
        for policy in ("w8a8",) if TINY else ("float32", "w8a8", "ethos_u_8x8_16"):
            measured(policy, *our_stack(stack, policy, rematerialize=False))
        return
    measured("flax nn.RNN", *flax_stack(stack))
    if jax.devices()[0].platform != "gpu":
        say(form="cuDNN", skipped="there is no GPU")
        return
    from jax.experimental import rnn

    count = rnn.get_num_params_in_lstm(stack.width, stack.width, stack.layers, False)
    state = jnp.zeros((stack.layers, stack.rows, stack.width))
    lengths = jnp.full((stack.rows,), stack.frames, jnp.int32)

    def cudnn(weights, xs):
        sizes = (stack.width, stack.width, stack.layers, 0.0, False)
        return rnn.lstm(xs, state, state, weights, lengths, *sizes)[0]

    measured("cuDNN (jax.experimental.rnn)", normal(3, count) * stack.width**-0.5, cudnn)


# --- recognizers ---------------------------------------------------------------------------------


def _config(model: str):
    from experiments.configs import librispeech, prompts, prompts_smoke

    if TINY:  # with what takes least to compile
        config = prompts_smoke.experiment()
        no_masks = dataclasses.replace(config.spec_augment, freq_masks=0, max_time_masks=0)
        return dataclasses.replace(config, spec_augment=no_masks, objectives=config.objectives[:1])
    makers = {
        "smoke": prompts_smoke.experiment,
        "readme": prompts.experiment,
        "45M": librispeech.full_960,
        "61M": librispeech.word_pieces,
    }
    return makers[model]()


def step(model: str, policy_name: str) -> None:
    """A training step: the gradient of a batch and the optimizer's update.

    ``model_tera_per_s`` counts the products of the network alone: 6 operations a weight and frame,
    and those of the joint's lattice forward, once more, and backward.
    """
    from benchmarks.step_inputs import noise_batch
    from rnnt_qat.experiment.task import RecognizerTask
    from rnnt_qat.frontend.frontend import Frontend
    from rnnt_qat.frontend.statistics import FeatureStats
    from rnnt_qat.infra.mesh import make_mesh
    from rnnt_qat.quant.policies import policy_by_name
    from rnnt_qat.training.stages import TrainingStage
    from rnnt_qat.training.state import TrainState, parameter_count
    from rnnt_qat.training.task import FLOAT32

    config, half = _config(model), policy_name == "bfloat16"
    bins = config.frontend.log_mel.num_mel_bins
    stats = FeatureStats(np.zeros(bins, np.float32), np.ones(bins, np.float32))
    policy = policy_by_name(FLOAT32 if half else policy_name)
    frontend = Frontend(config.frontend, stats)
    task = RecognizerTask(config.model, policy, frontend, config.spec_augment, config.objectives)
    sizes = {"smoke": (4, 1.92, 24), "readme": (13, 3.84, 45)}
    rows, seconds, labels = (2, 1.0, 6) if TINY else sizes.get(model, (32, 15.0, 200))
    batch = jax.device_put(noise_batch(rows, seconds, labels, config.model.vocabulary))
    params = jax.jit(task.initial_params)(jax.random.key(0))
    ranges = {}
    if policy_name not in (FLOAT32, "bfloat16"):
        under = task.under("")
        ranges = jax.jit(under.observe)(params, under.empty_ranges(), batch)
    precision = FLOAT32 if policy == policy_by_name(FLOAT32) else ""
    stage = TrainingStage("measured", 1000, precision, bfloat16=half).bind(task)
    state = jax.jit(lambda p: stage.begin(TrainState.create(p, ranges, seed=0), ()))(params)
    update = stage.make_update(0, 50, make_mesh())
    row = timed(lambda state, batch: update(state, batch)[0], state, batch, donated=True)
    work = _operations(config, params, rows, seconds, labels)
    say(
        parameters=parameter_count(params),
        batch=f"{rows} x {seconds:g} s",
        **row,
        audio_s_per_s=rows * seconds / (row["ms"] / 1e3),
        **rate(row, work),
    )


def _operations(config, params, rows: int, seconds: float, labels: int) -> float:
    encoder = config.model.encoder
    frames = 1e3 * seconds / config.frontend.frame_ms
    reduced = frames / encoder.time_reduction
    total = 0.0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        if leaf.ndim != 2 or "embedding" in name:
            continue
        uses = labels + 1 if "prediction" in name else reduced
        if "encoder" in name and any(
            f"_{n}'" in name for n in range(encoder.layers_before_reduction)
        ):
            uses = frames
        factor = 6
        if "joint" in name:
            uses, factor = reduced * (labels + 1), 8
        total += factor * leaf.size * uses * rows
    return total


def decode(model: str) -> None:
    """Streaming greedy decoding of many streams at once, in chunks of 240 ms.

    ``model_tera_per_s`` counts the products of the encoder alone, as if all its layers ran at the
    reduced rate.
    """
    from benchmarks.decode import untrained
    from rnnt_qat.decoding.chunk_driver import ChunkDriver
    from rnnt_qat.decoding.greedy import GreedyConfig
    from rnnt_qat.infra.mesh import DATA_AXIS, make_mesh

    config, chunk_ms, seconds = _config(model), 240.0, 0.96 if TINY else 4.8
    samples = round(seconds * config.frontend.log_mel.sample_rate_hz)
    noise = np.random.default_rng(0).standard_normal((1, samples), np.float32)
    frontend, transducer = untrained(config, 0.1 * noise, chunk_ms)
    driver = ChunkDriver(frontend, GreedyConfig().build())
    mesh, rows = make_mesh(), PartitionSpec(DATA_AXIS)
    weights = _weights(transducer.variables["params"]["encoder"])
    program = jax.shard_map(  # each device decodes its rows without waiting for the others
        lambda *given: driver.decode(*given, chunk_ms),
        mesh=mesh,
        in_specs=(PartitionSpec(), rows, rows),
        out_specs=rows,
        check_vma=False,
    )
    for count in (2,) if TINY else (2, 16) if HOST else (1, 256, 1024, 4096):
        if count % mesh.devices.size:
            continue
        audio = 0.1 * normal(1, count, samples)
        lengths = jnp.full((count,), samples, jnp.int32)
        row = timed(program, transducer, audio, lengths)
        frames = seconds * 1e3 / config.frontend.frame_ms / config.model.encoder.time_reduction
        say(
            streams=count,
            **row,
            streams_at_real_time=count * seconds / (row["ms"] / 1e3),
            **rate(row, 2 * weights * frames * count),
        )


def _weights(params) -> int:
    """Returns the number of weights of matrix products."""
    return sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 2)


SECTIONS = {each.__name__: each for each in (integers, matmul, loss, peer, lstm, step, decode)}

if __name__ == "__main__":
    check_devices()
    SECTIONS[sys.argv[1]](*sys.argv[2:])
