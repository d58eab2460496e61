"""Data-parallel training past one machine, computed from measured pieces.

    python -m benchmarks.scaling        # the README's model, compiled here
    python -m benchmarks.scaling --model=45M --measured=accelerator/rows.jsonl

First what is measured: the update is compiled for 1 to 8 simulated devices with the same rows a
device, and the bytes of its collectives are read from the compiled programs. That is the whole cost
of one more device but waiting: rows and parameters a device do not change.

Then what is computed from that: the time of a step on 8 to 1,024 chips is

    compute(rows a chip) + all-reduce(bytes, chips)

    compute = max(floor, rows * seconds * time of a second of audio)
    all-reduce = 2 (n - 1) / n * bytes / bandwidth + 2 (n - 1) * latency   within and across nodes

with the floor of a recurrence: frames * layers * 2 steps that wait for each other, each at least as
long as a kernel's launch. Constants are flags; the time of a second of audio comes from a table of
``benchmarks.accelerator`` if there is one, and is otherwise a stated assumption.
"""

import math
from pathlib import Path

from absl import flags

from benchmarks.scaling_model import Machine, Recipe, audio_s_per_s, collective_bytes
from rnnt_qat.infra.program import run

_MODEL = flags.DEFINE_enum("model", "readme", ["readme", "45M", "61M"], "sizes of the recognizer")
_ROWS = flags.DEFINE_integer("rows", 4, "rows a device of the compiled programs")
_SECONDS = flags.DEFINE_float("seconds", 1.92, "audio of a row of the compiled programs")
_DEVICES = flags.DEFINE_list("devices", ["1", "2", "4", "8"], "simulated devices")
_MEASURED = flags.DEFINE_string("measured", None, "rows.jsonl of benchmarks.accelerator")
_PRECISION = flags.DEFINE_string("precision", "bfloat16", "policy of the measured row")
_TFLOPS = flags.DEFINE_float("tflops", 100.0, "assumed without --measured: achieved, of products")
_BATCH_HOURS = flags.DEFINE_float("batch_hours", 3.33, "audio of a batch over all chips")
_EPOCHS = flags.DEFINE_list("epochs", ["960:60", "270000:3"], "HOURS:EPOCHS of training runs")
_NODE = flags.DEFINE_integer("node", 8, "chips of a node")
_INSIDE = flags.DEFINE_float("inside_gb_s", 300.0, "bandwidth a chip within a node")
_ACROSS = flags.DEFINE_float("across_gb_s", 40.0, "bandwidth a chip across nodes")
_LATENCY = flags.DEFINE_float("latency_us", 10.0, "of one hop of an all-reduce")
_LAUNCH = flags.DEFINE_float("launch_us", 8.0, "least time of a step of a recurrence")


def compiled_collectives(config, devices: int, rows: int, seconds: float) -> dict[str, int]:
    """Compiles an update for simulated devices and returns the bytes of its collectives.

    Args:
      config: the experiment's config.
      devices: number of devices.
      rows: rows a device.
      seconds: audio of a row.
    """
    import jax
    import numpy as np

    from benchmarks.step_inputs import noise_batch
    from rnnt_qat.experiment.task import RecognizerTask
    from rnnt_qat.frontend.frontend import Frontend
    from rnnt_qat.frontend.statistics import FeatureStats
    from rnnt_qat.infra.mesh import make_mesh, rows_sharding, state_shardings
    from rnnt_qat.quant.policies import FLOAT32
    from rnnt_qat.training.state import TrainState

    bins = config.frontend.log_mel.num_mel_bins
    stats = FeatureStats(np.zeros(bins, np.float32), np.ones(bins, np.float32))
    frontend = Frontend(config.frontend, stats)
    task = RecognizerTask(config.model, FLOAT32, frontend, config.spec_augment, config.objectives)
    stage = config.stage("float").bind(task)

    def begin(key):
        return stage.begin(TrainState.create(task.initial_params(key), {}, seed=0), ())

    state = jax.eval_shape(begin, jax.random.key(0))
    batch = noise_batch(devices * rows, seconds, round(10 * seconds), config.model.vocabulary)
    mesh = make_mesh(jax.devices()[:devices])
    update = stage.make_update(0, 50, mesh)
    home = state_shardings(mesh, state, config.loop.shard_above)
    learned = jax.eval_shape(update.learn, state, batch)
    learned_home = state_shardings(mesh, learned, config.loop.shard_above)
    learn = jax.jit(
        update.learn, in_shardings=(home, rows_sharding(mesh)), out_shardings=learned_home
    )
    apply = jax.jit(update.apply, in_shardings=(home, learned_home), out_shardings=(home, None))
    total: dict[str, int] = {}
    for program in (learn.lower(state, batch), apply.lower(state, learned)):
        for kind, size in collective_bytes(program.compile().as_text()).items():
            total[kind] = total.get(kind, 0) + size
    return total


def main() -> None:
    import jax

    counts = [int(n) for n in _DEVICES.value]
    jax.config.update("jax_num_cpu_devices", max(counts))
    from experiments.configs import librispeech, prompts

    makers = {
        "readme": prompts.experiment,
        "45M": librispeech.full_960,
        "61M": librispeech.word_pieces,
    }
    config = makers[_MODEL.value]()
    print("| devices | collective bytes a step and device | of the largest |\n|---:|---:|---:|")
    found = {n: compiled_collectives(config, n, _ROWS.value, _SECONDS.value) for n in counts}
    largest = max(sum(kinds.values()) for kinds in found.values())
    for n, kinds in found.items():
        size, text = sum(kinds.values()), ", ".join(f"{k} {v:,}" for k, v in kinds.items())
        print(f"| {n} | {size:,} ({text}) | {size / max(largest, 1):.3f} |", flush=True)

    recipe = _recipe(config, largest)
    machine = Machine(_NODE.value, 1e9 * _INSIDE.value, 1e9 * _ACROSS.value, 1e-6 * _LATENCY.value)
    print(f"\n{recipe}\n{machine}\n")
    runs = [tuple(map(float, run.split(":"))) for run in _EPOCHS.value]
    titles = [f"{hours:g} h, {epochs:g} epochs" for hours, epochs in runs]
    titles = ["chips", "rows a chip", "step ms", "all-reduce ms", "efficiency", *titles]
    print("| " + " | ".join(titles) + " |\n" + "|---:" * len(titles) + "|")
    for chips in (8, 16, 32, 64, 128, 256, 512, 1024):
        step = recipe.step_s(chips, machine)
        took = [epochs * hours / recipe.batch_s * step for hours, epochs in runs]
        print(
            f"| {chips} | {math.ceil(recipe.batch_s / recipe.row_s / chips)} | {1e3 * step:.1f} "
            f"| {1e3 * machine.all_reduce_s(recipe.gradient_bytes, chips):.2f} "
            f"| {recipe.efficiency(chips, machine):.2f} | "
            + " | ".join(f"{hours:.1f} h" for hours in took)
            + " |"
        )


def _recipe(config, gradient_bytes: float) -> Recipe:
    encoder, row_s = config.model.encoder, 15.0
    frames = 1e3 * row_s / config.frontend.frame_ms
    before, after = encoder.layers_before_reduction, encoder.num_layers
    steps = frames * before + frames / encoder.time_reduction * (after - before)
    if _MEASURED.value:
        speed = audio_s_per_s(Path(_MEASURED.value), _MODEL.value, _PRECISION.value)
    else:
        weights = gradient_bytes / 4
        speed = 1e12 * _TFLOPS.value / (6 * weights * frames / row_s)
    floor_s = 2 * steps * 1e-6 * _LAUNCH.value
    return Recipe(3600 * _BATCH_HOURS.value, row_s, speed, floor_s, gradient_bytes)


if __name__ == "__main__":
    run(main)
