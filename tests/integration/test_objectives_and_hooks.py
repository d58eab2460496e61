"""Two policies, a teacher, four objectives and pruning in one run; stopped, resumed and frozen."""

import io

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from rnnt_qat.experiment.task import FloatTeacher, RecognizerTask
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.frontend.spec_augment import SpecAugmentConfig
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.mesh import make_mesh, to_host
from rnnt_qat.models.rnnt import RNNT
from rnnt_qat.objectives import CTC, CellGrowth, EncoderDistillation, Transducer
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.serving.freeze import freeze
from rnnt_qat.training.checkpoints import CheckpointConfig
from rnnt_qat.training.loop import LoopConfig, Trainer
from rnnt_qat.training.metrics import read_records
from rnnt_qat.training.objective import WeightedObjective
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.plan import bind, check_stages
from rnnt_qat.training.pruning import MagnitudePruning
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.state import TrainState
from rnnt_qat.training.task import FLOAT32
from tests.integration.test_learned_ranges import Batches
from tests.integration.test_serving_equals_training import CONFIG, FEATURES

POLICY = "generic_nna"
OPTIMIZER = OptimizerConfig(learning_rate=1e-2, warmup_steps=1, ema_decay=0.5)
KEEP = MagnitudePruning(final_sparsity=0.0, ramp_steps=0, every=1)
STAGES = (
    TrainingStage(
        "float",
        4,
        FLOAT32,
        OPTIMIZER,
        hooks=(MagnitudePruning(final_sparsity=0.6, ramp_steps=3, every=1),),
    ),
    Calibration("calibrate_8", 1),
    TrainingStage(
        "taught",
        4,
        "",
        OPTIMIZER,
        objectives=(
            WeightedObjective("transducer", Transducer()),
            WeightedObjective("distillation", EncoderDistillation(), 0.5, ramp_steps=2),
            WeightedObjective("cells", CellGrowth(limit=0.1), 0.01),
        ),
        hooks=(KEEP,),
        teacher="self",
    ),
    Calibration("calibrate_4", 1, precision="generic_nna_w4+lsq"),
    TrainingStage("narrow", 2, "generic_nna_w4+lsq", OPTIMIZER, hooks=(KEEP,)),
    TrainingStage("again", 1, FLOAT32, OPTIMIZER, hooks=(KEEP,)),
)


def task(**load):
    bins = np.zeros(FEATURES, np.float32)
    return RecognizerTask(
        CONFIG,
        policy_by_name(POLICY),
        Frontend(
            FrontendConfig(LogMelConfig(num_mel_bins=FEATURES), stack=1),
            FeatureStats(bins, bins + 1),
        ),
        SpecAugmentConfig(freq_masks=0, freq_mask_bins=0, max_time_masks=0),
        (WeightedObjective("transducer", Transducer()),),
        **load,
    )


def make(workdir, iterator):
    recognizer = task()
    return Trainer(
        bind(STAGES, recognizer),
        lambda: TrainState.create(recognizer.initial_params(jax.random.key(0)), {}, 0),
        iterator,
        workdir,
        {},
        LoopConfig(log_every=1, checkpoint=CheckpointConfig(every=3)),
        make_mesh(),
        Console(io.StringIO(), period_seconds=1e9),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The working directory, the last state and the best states of a run."""
    workdir = tmp_path_factory.mktemp("run")
    trainer = make(workdir, Batches())
    return workdir, to_host(trainer.run()), {b.stage: b for b in trainer.best_states()}


@pytest.mark.slow
def test_the_plan_is_one(run):
    check_stages(STAGES, POLICY)
    _, _, best = run
    assert [b.precision for b in best.values()] == [s.precision for s in STAGES]


@pytest.mark.slow
def test_every_term_is_recorded_where_it_is_minimised(run):
    records = [r for r in read_records(run[0] / "metrics.jsonl") if r["stage"] == "taught"]
    first, *_, last = records
    terms = {"terms/transducer/exact", "terms/distillation/encoder", "terms/cells/cells"}
    assert terms <= first.keys()
    weights = (1.0, 0.5, 0.01)
    names = ("transducer/exact", "distillation/encoder", "cells/cells")
    total = sum(w * last[f"terms/{n}"] for w, n in zip(weights, names, strict=True))
    assert last["loss"] == pytest.approx(total, rel=1e-5)
    assert min(last[name] for name in terms) > 0
    # The ramp begins at nothing: the student is its teacher then, but for the chip's rounding.
    rest = first["terms/transducer/exact"] + 0.01 * first["terms/cells/cells"]
    assert first["loss"] == pytest.approx(rest, rel=1e-5)


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_bits(run, tmp_path):
    """Stopped in the stage that has a teacher and masks in its state."""
    with pytest.raises(InterruptedError):
        make(tmp_path, Batches(last=8)).run()
    resumed = to_host(make(tmp_path, Batches()).run())
    jax.tree.map(np.testing.assert_array_equal, resumed, run[1])


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["taught", "narrow"])
def test_pruned_weights_are_zero_on_the_chip(run, stage):
    best = run[2][stage]
    model = task().under(best.precision)
    variables = to_host(model.variables(best.state.ema_params, best.state.quant_stats))
    params = flatten_dict(variables["params"])
    served = flatten_dict(freeze(RNNT(CONFIG, model.policy), variables).variables["params"])
    kernels = [path for path in params if path[-1].endswith("kernel")]
    assert len(kernels) == 9
    for path in kernels:
        zeros = params[path] == 0
        assert zeros.mean() == pytest.approx(0.6, abs=1 / zeros.size)
        assert np.issubdtype(served[path].dtype, np.signedinteger)
        assert not np.any(np.asarray(served[path])[zeros])
        assert np.any(served[path])


@pytest.mark.slow
def test_after_trained_ranges_the_network_alone_goes_on(run):
    _, state, best = run
    assert hasattr(best["narrow"].state.params, "ranges")
    assert flatten_dict(state.params).keys() == flatten_dict(best["float"].state.params).keys()


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"objectives": (WeightedObjective("d", EncoderDistillation()),)}, "reads a teacher"),
        ({"teacher": "self"}, "none of its objectives reads one"),
        ({"objectives": (WeightedObjective("ctc", CTC()),)}, r"objectives\.ctc: .*model\.ctc_head"),
        ({"teacher": "models/float"}, "only 'self' can teach here"),
    ],
)
def test_what_does_not_fit_is_named_before_the_first_step(stage, message):
    with pytest.raises(ConfigError, match=message):
        TrainingStage("float", 1, FLOAT32, **stage).bind(task())


def test_a_teacher_of_a_model_directory_brings_its_own_sizes():
    params = {"its": "parameters"}
    stage = TrainingStage(
        "float",
        1,
        FLOAT32,
        objectives=(WeightedObjective("d", EncoderDistillation()),),
        teacher="models/float",
    )
    bound = stage.bind(task(load_teacher=lambda name: FloatTeacher(CONFIG, params | {"of": name})))
    assert bound.teacher == {"its": "parameters", "of": "models/float"}
