"""Memory of the training step before and after hidden units are removed, and the batches it allows.

    python -m benchmarks.removed_units --config=experiments/configs/pruned.py:units_50

Two batch shapes as in the config's runs: utterances of a quarter of ``pipeline.max_seconds`` and of
all of it. The memory is the compiler's account of the compiled step (``training.batch_sizing``);
the budget is what the step of the whole network takes with ``pipeline.batch_seconds``.
"""

import time

from absl import flags

from experiments.flags import define_config, experiment_config, run

_LABELS = flags.DEFINE_float("labels_per_second", 12.0, "Labels in a second of speech.")
_CONFIG = define_config()
flags.mark_flag_as_required("config")


class Shapes:
    """Shapes of batches of two lengths; implements ``training.batch_sizing.SizedBatches``."""

    def __init__(self, config, labels_per_second: float):
        from rnnt_qat.input_pipeline.buckets import Bucket

        rate = config.frontend.log_mel.sample_rate_hz
        quantum = config.frontend.samples_per_frame * config.pipeline.frame_multiple
        self.batch_seconds = config.pipeline.batch_seconds
        self._rate, self._frames = rate, config.frontend.samples_per_frame
        self._width = config.frontend.feature_size
        self._buckets = []
        for share in (0.25, 1.0):
            samples = round(share * config.pipeline.max_seconds * rate) // quantum * quantum
            self._buckets.append(Bucket(samples, round(labels_per_second * samples / rate), 1))

    @property
    def size_limits(self):
        """A row of the longest, and a hundred."""
        longest = self._buckets[-1].num_samples / self._rate
        return longest + 0.1, 100 * longest

    def batch_shapes(self, batch_seconds):
        """A batch of shapes for each length."""
        import jax
        import numpy as np

        from rnnt_qat.batch import Batch

        def shapes(bucket):
            rows = int(batch_seconds * self._rate) // bucket.num_samples
            frames = bucket.num_samples // self._frames
            lengths = jax.ShapeDtypeStruct((rows,), np.int32)
            return Batch(
                features=jax.ShapeDtypeStruct((rows, frames, self._width), np.float32),
                feature_lengths=lengths,
                labels=jax.ShapeDtypeStruct((rows, bucket.num_labels), np.int32),
                label_lengths=lengths,
                utterance_index=lengths,
            )

        return [shapes(bucket) for bucket in self._buckets]

    def resize(self, batch_seconds):
        """Notes the size."""
        self.batch_seconds = batch_seconds


def main() -> int:
    """Prints a row per training stage: parameters, memory at equal batches, batches that fit."""
    import jax
    import numpy as np

    from rnnt_qat.experiment.task import RecognizerTask
    from rnnt_qat.frontend.frontend import Frontend
    from rnnt_qat.frontend.statistics import FeatureStats
    from rnnt_qat.infra.mesh import make_mesh
    from rnnt_qat.training.batch_sizing import BatchSizing
    from rnnt_qat.training.compilation import CompiledUpdate
    from rnnt_qat.training.plan import parts
    from rnnt_qat.training.stages import TrainingStage
    from rnnt_qat.training.state import TrainState, parameter_count

    config, mesh = experiment_config(_CONFIG), make_mesh()
    bins = config.frontend.log_mel.num_mel_bins
    stats = FeatureStats(np.zeros(bins, np.float32), np.ones(bins, np.float32))
    batches = Shapes(config, _LABELS.value)
    whole = RecognizerTask(
        config.model,
        config.policy,
        Frontend(config.frontend, stats),
        config.spec_augment,
        config.objectives,
    )
    tasks = [part.task for part in parts(config.stages, whole)]
    stages = [s for s in config.stages if isinstance(s, TrainingStage)]
    print("| step | network | parameters | MB | batch_seconds in its memory | measured in s |")
    print("|---|---|---:|---:|---:|---:|")
    for stage in stages:
        budget = 0
        for name, task in (("whole", tasks[0]), ("units removed", tasks[-1])):
            begun = time.monotonic()
            bound, model = stage.bind(task), task.under(stage.precision)
            params = jax.eval_shape(task.initial_params, jax.random.key(0))
            state = jax.eval_shape(
                lambda p, model=model, bound=bound: bound.begin(
                    TrainState.create(p, model.empty_ranges(), 0), ()
                ),
                params,
            )
            update = CompiledUpdate(bound.make_update(0, 20, mesh), mesh, config.loop.shard_above)
            equal = batches.batch_shapes(config.pipeline.batch_seconds)
            used = max(update.step_bytes(state, batch) for batch in equal)
            budget = budget or used
            sizing = BatchSizing(batches, budget, config.pipeline.batch_seconds)
            seconds = sizing.choose(update, state).batch_seconds
            precision = stage.precision or config.precision
            print(
                f"| {precision} | {name} | {parameter_count(params) / 1e6:.2f} M | "
                f"{used / 1e6:,.0f} | {seconds:.1f} | {time.monotonic() - begun:.0f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    run(main)
