"""Times of whole recognizers: a training step, and streaming decoding of many streams."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from benchmarks.accelerator_timing import HOST, TINY, normal, rate, say, timed


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
