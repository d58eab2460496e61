"""A whole training step of the main job on one CPU core: floating point, and each policy.

    python -m benchmarks.training_step --output=training_step.json

The model, losses, frontend, masks and optimizer are those of ``experiments/configs/prompts.py``;
the batch is noise of a bucket's shape. A step is both programs of ``CompiledUpdate``: the
gradient of a batch and the optimizer. *float32* is the floating point stage (with dropout), the
others the accelerator-aware stage under the policy. Compile times and counts are printed below the
table: one program a batch shape, and one optimizer.
"""

import sys

from absl import flags

from benchmarks import measure
from rnnt_qat.infra.program import run

_OUTPUT = flags.DEFINE_string("output", "training_step.json", "file for the figures")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "interleaved steps of each contestant")
_CORE = flags.DEFINE_integer("core", 0, "core that everything is pinned to")
_CLOCK = flags.DEFINE_enum("clock", "cpu", ["cpu", "wall"], "time of the table and its ratios")
_BATCHES = flags.DEFINE_multi_string(
    "batch", ["13,3.84,45"], "rows,seconds,labels of a bucket (50 s a batch in the main job)"
)
_POLICIES = flags.DEFINE_list(
    "policies", ["float32", "w8a8", "ethos_u_8x8_16", "generic_nna"], "contestants"
)
_WORKER = flags.DEFINE_list("worker", [], "internal: contestant, rows, seconds, labels")

FLOAT = "float32"


def worker(policy_name: str, rows: str, seconds: str, labels: str) -> None:
    """One policy's step, served to the parent."""
    import jax
    import numpy as np

    from benchmarks.step_inputs import noise_batch
    from experiments.configs import prompts
    from rnnt_qat.experiment.task import RecognizerTask
    from rnnt_qat.frontend.frontend import Frontend
    from rnnt_qat.frontend.statistics import FeatureStats
    from rnnt_qat.infra.mesh import make_mesh
    from rnnt_qat.quant.policies import policy_by_name
    from rnnt_qat.training.compilation import CompiledUpdate
    from rnnt_qat.training.state import TrainState

    config = prompts.experiment()
    bins = config.frontend.log_mel.num_mel_bins
    stats = FeatureStats(np.zeros(bins, np.float32), np.ones(bins, np.float32))
    task = RecognizerTask(
        config.model,
        policy_by_name(policy_name),
        Frontend(config.frontend, stats),
        config.spec_augment,
        config.objectives,
    )
    batch = noise_batch(int(rows), float(seconds), int(labels), config.model.vocabulary)
    params = jax.jit(task.initial_params)(jax.random.key(0))
    if policy_name == FLOAT:
        stage, ranges = config.stage("float"), {}
    else:
        stage, model = config.stage("aware"), task.under("")
        ranges = jax.jit(model.observe)(params, model.empty_ranges(), batch)
    mesh = make_mesh()
    bound = stage.bind(task)
    state = bound.begin(TrainState.create(params, ranges, seed=0), ())
    update = CompiledUpdate(bound.make_update(0, 50, mesh), mesh, config.loop.shard_above)
    states = [update(state, batch)[0]]  # an update donates its state
    shapes = update.count

    def step():
        state, report = update(states.pop(), batch)
        states.append(jax.block_until_ready(state))
        return report

    notes = {"jax": jax.__version__, "compile_s": update.seconds, "compilations": shapes + 1}
    measure.serve(step, notes)


def main() -> None:
    if _WORKER.value:
        worker(*_WORKER.value)
        return
    measure.pin([_CORE.value])
    cases = {}
    for sizes in _BATCHES.value:
        rows = measure.measure(
            [
                measure.worker(name, "benchmarks.training_step", f"--worker={name},{sizes}")
                for name in _POLICIES.value
            ],
            _ROUNDS.value,
        )
        cases[sizes] = rows
        print(f"\n{sizes}\n\n{measure.table(rows, FLOAT, _CLOCK.value)}\n")
        for row in rows:
            programs, seconds = (row.notes.get(key) for key in ("compilations", "compile_s"))
            print(f"{row.name}: {programs} programs compiled in {seconds:.1f} s", flush=True)
    measure.save(_OUTPUT.value, cases, sys.argv)


if __name__ == "__main__":
    run(main)
