"""Units pruned in one stage and removed before the next: outputs, a resumed run, the chip."""

import dataclasses
import io

import jax
import numpy as np
import pytest

from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.runner import Experiment
from rnnt_qat.experiment.unit_pruning import UnitPruning
from rnnt_qat.export.freeze import freeze
from rnnt_qat.export.thaw import thaw
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.mesh import make_mesh, to_host
from rnnt_qat.models.bound_transducer import BoundTransducer
from rnnt_qat.models.hidden_units import living_units, with_lstm_widths
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.quant.policies import FLOAT32 as FLOAT_POLICY
from rnnt_qat.training.batch_sizing import BatchSizing
from rnnt_qat.training.checkpoints import CheckpointConfig
from rnnt_qat.training.loop import LoopConfig, Trainer
from rnnt_qat.training.metrics import read_records
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.plan import bind_parts, parts
from rnnt_qat.training.stages import Calibration, RemoveUnits, TrainingStage
from rnnt_qat.training.state import TrainState
from rnnt_qat.training.task import FLOAT32
from rnnt_qat.verify.verification import UtteranceFeatures, verify
from tests.experiment.test_languages_and_rates import experiment
from tests.integration.test_learned_ranges import Batches
from tests.integration.test_objectives_and_hooks import task
from tests.integration.test_serving_equals_training import CONFIG, FEATURES

CHIP = "ethos_u_8x8_16"
OPTIMIZER = OptimizerConfig(learning_rate=1e-2, warmup_steps=1, ema_decay=0.5)
HALF = UnitPruning(final_sparsity=0.5, ramp_steps=3, every=1)
STAGES = (
    TrainingStage("prune", 6, FLOAT32, OPTIMIZER, hooks=(HALF,)),
    RemoveUnits(),
    Calibration(batches=1, precision=CHIP),
    TrainingStage("aware", 4, CHIP, OPTIMIZER),
)
SMALLER = with_lstm_widths(
    CONFIG, {"encoder/lstm_0": 8, "encoder/lstm_1": 8, "prediction/lstm_0": 6}
)


def make(workdir, iterator, stages=STAGES):
    recognizer = task()
    plan = parts(stages, recognizer)
    return [part.task for part in plan], Trainer(
        bind_parts(plan),
        lambda: TrainState.create(recognizer.initial_params(jax.random.key(0)), {}, 0),
        iterator,
        workdir,
        {},
        LoopConfig(log_every=1, checkpoint=CheckpointConfig(every=2)),
        make_mesh(),
        Console(io.StringIO(), period_seconds=1e9),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Tasks of the stages, the last state, and the best states by stage."""
    tasks, trainer = make(tmp_path_factory.mktemp("run"), Batches())
    return tasks, to_host(trainer.run()), {b.stage: b for b in trainer.best_states()}


def encoded(config, params):
    batch = Batches().batch
    inputs = batch.features, batch.feature_lengths, batch.labels, batch.label_lengths
    lattice = RNNT(config, FLOAT_POLICY).apply({"params": params}, *inputs)
    return lattice.encoded, lattice.predicted


@pytest.mark.slow
def test_stages_after_the_removal_run_on_the_smaller_network(run):
    tasks, state, best = run
    assert [t.model for t in tasks] == [CONFIG, SMALLER, SMALLER]
    pruned = best["prune"].state.ema_params
    assert [int(alive.sum()) for alive in living_units(pruned).values()] == [8, 8, 6]
    # A calibration changes no parameter, so it shows the network as it was handed over.
    smaller = best["calibration"].state.ema_params
    for before, after in zip(encoded(CONFIG, pruned), encoded(SMALLER, smaller), strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)
    shapes = jax.tree.map(np.shape, tasks[1].initial_params(jax.random.key(1)))
    assert jax.tree.map(np.shape, state.params) == shapes
    moments = [leaf.shape for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim > 1]
    kernels = [leaf.shape for leaf in jax.tree.leaves(state.params) if leaf.ndim > 1]
    assert moments == kernels * (len(moments) // len(kernels))
    assert moments


@pytest.mark.slow
@pytest.mark.parametrize("last", [6, 9])
def test_a_run_interrupted_around_the_removal_ends_with_the_same_bits(run, tmp_path, last):
    """At the end of the pruning stage, and in training on the chip."""
    with pytest.raises(InterruptedError):
        make(tmp_path, Batches(last=last))[1].run()
    resumed = to_host(make(tmp_path, Batches())[1].run())
    jax.tree.map(np.testing.assert_array_equal, resumed, run[1])


class SizedBatches(Batches):
    """The batch's rows over and over, one row a second."""

    size_limits = (1.0, 200.0)

    def __init__(self, last=1 << 30):
        super().__init__(last)
        self._one = jax.tree.map(lambda leaf: leaf[:1], self.batch)
        self.resize(3.0)

    def batch_shapes(self, batch_seconds):
        rows = int(batch_seconds)
        return [
            jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype), self._one
            )
        ]

    def resize(self, batch_seconds):
        self.batch_seconds = batch_seconds
        self.batch = jax.tree.map(lambda leaf: np.repeat(leaf, int(batch_seconds), 0), self._one)

    def state(self):
        return {"position": super().state(), "batch_seconds": self.batch_seconds}

    def restore(self, state):
        super().restore(state["position"])
        self.resize(state["batch_seconds"])


@pytest.mark.slow
def test_the_memory_of_removed_units_is_filled_with_larger_batches(tmp_path):
    recover = TrainingStage("recover", 3, FLOAT32, OPTIMIZER)
    stages = (dataclasses.replace(STAGES[0], steps=5), RemoveUnits(), recover)

    def train(workdir, iterator):
        _, trainer = make(workdir, iterator, stages)
        trainer._sizing = BatchSizing(iterator, 400_000, 3.0)
        return to_host(trainer.run())

    whole = train(tmp_path / "whole", SizedBatches())
    records = read_records(tmp_path / "whole/metrics.jsonl")
    before, after = (r["batch_seconds"] for r in records if "batch_seconds" in r)
    assert after > 1.4 * before > 3.0
    with pytest.raises(InterruptedError):
        train(tmp_path / "cut", SizedBatches(last=7))
    jax.tree.map(np.testing.assert_array_equal, train(tmp_path / "cut", SizedBatches()), whole)
    assert read_records(tmp_path / "cut/metrics.jsonl") == records


@pytest.mark.slow
def test_the_smaller_network_is_frozen_and_played(run):
    """Frozen for the chip, in JAX, LiteRT, TFLM and the player: the integers of training."""
    tasks, _, best = run
    model = tasks[2].under(CHIP)
    state = best["aware"].state
    variables = to_host(model.variables(state.ema_params, state.quant_stats))
    network = RNNT(SMALLER, model.policy)
    frozen = freeze(network, variables)
    assert [layer.hidden_size for layer in frozen.encoder.layers] == [8, 8]
    assert [layer.hidden_size for layer in frozen.prediction.layers] == [6]
    rng = np.random.default_rng(1)
    heard = [
        UtteranceFeatures(f"u{n}", rng.normal(size=(frames, FEATURES)).astype(np.float32))
        for n, frames in enumerate((8, 5))
    ]
    found = verify(frozen, BoundTransducer(variables, network), heard, (1,), 2)
    assert [a.decoder.split()[0] for a in found.agreements] == ["JAX", "LiteRT", "TFLM"]
    assert all(agreement.exact for agreement in found.agreements)
    assert sum(agreement.integers for agreement in found.agreements) > 200


@pytest.mark.slow
def test_layers_of_different_widths_are_frozen_played_and_thawed():
    config = dataclasses.replace(
        CONFIG, encoder=dataclasses.replace(CONFIG.encoder, hidden_size=(16, 5))
    )
    model = RNNT(config, task().under(CHIP).policy)
    batch = Batches().batch
    inputs = batch.features, batch.feature_lengths, batch.labels, batch.label_lengths
    calibrating = model.clone(policy=model.policy.calibration())
    params = calibrating.init(jax.random.key(0), *inputs)["params"]
    _, ranges = calibrating.apply({"params": params}, *inputs, mutable=["quant_stats"])
    variables = {"params": params, **ranges}
    frozen = freeze(model, variables)
    heard = [UtteranceFeatures("u", batch.features[0])]
    found = verify(frozen, BoundTransducer(variables, model), heard, (1, 2), 2)
    assert all(agreement.exact for agreement in found.agreements)
    assert thaw(frozen, model.policy).model.config.encoder.hidden_size == (16, 5)


@pytest.mark.slow
def test_an_experiment_keeps_a_smaller_model_that_another_starts_from(tmp_path):
    ours, at_once = experiment(tmp_path), dataclasses.replace(HALF, ramp_steps=1)
    config = dataclasses.replace(
        ours.config,
        precision=CHIP,
        pipeline=dataclasses.replace(ours.config.pipeline, memory_bytes=1 << 40),
        stages=(
            TrainingStage("prune", 3, FLOAT32, OPTIMIZER, hooks=(at_once,)),
            RemoveUnits(),
            TrainingStage("recover", 2, FLOAT32, OPTIMIZER),
            Calibration(batches=1),
        ),
    )
    console = Console(io.StringIO())
    made = Experiment(config, tmp_path, tmp_path / "run", console, validate=True).train()
    widths = {name: r.config.model.encoder.hidden_size for name, r in made.items()}
    assert widths == {"prune": 32, "recover": 16, "calibration": 16}
    records = read_records(tmp_path / "run/metrics.jsonl")
    sized = [(r["stage"], r["batch_seconds"]) for r in records if "batch_seconds" in r]
    assert sized == [("prune", 4.0), ("recover", 4.0)]  # all there is in an epoch
    sizes = {n: (tmp_path / "run/models" / n / "variables.npz").stat().st_size for n in made}
    assert sizes["recover"] < 0.6 * sizes["prune"]
    recover = tmp_path / "run/models/recover"
    loaded = Recognizer.load(recover)
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, made["recover"].variables)
    again = dataclasses.replace(
        config,
        model=loaded.config.model,
        stages=(Calibration(batches=1),),
        initialize_from=str(recover),
    )
    (calibrated,) = Experiment(again, tmp_path, tmp_path / "again", console).train().values()
    jax.tree.map(
        np.testing.assert_array_equal,
        calibrated.variables["params"],
        made["calibration"].variables["params"],
    )
