import dataclasses

import jax
import numpy as np
import pytest

from rnnt_qat.quant import policies
from rnnt_qat.training.metrics import read_records
from rnnt_qat.training.objective import WeightedObjective
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.plan import bind, check_stages
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.task import FLOAT32
from tests.training.toy import Imitation, SquaredError, ToyIterator, ToyTask, plan, trainer


def test_the_policy_of_floating_point_has_the_name_that_stages_know():
    assert policies.FLOAT32.name == FLOAT32


def test_stages_without_steps_are_left_out():
    stages = (TrainingStage("float", 3, FLOAT32), Calibration(batches=0), TrainingStage("aware", 0))
    bound = bind(stages, ToyTask())
    assert [(s.name, s.steps, s.precision) for s in bound] == [("float", 3, FLOAT32)]


@pytest.mark.parametrize(
    "stages",
    [
        (TrainingStage("float", 1, FLOAT32), Calibration(batches=0), TrainingStage("aware", 1)),
        (TrainingStage("aware", 1), Calibration()),
        (Calibration(), TrainingStage("aware", 1, "w4a8")),
        (Calibration(), Calibration("again", precision="w4a8"), TrainingStage("aware", 1)),
    ],
)
def test_training_under_formats_needs_their_calibration(stages):
    with pytest.raises(ValueError, match=r"stages\.calibration\.batches"):
        check_stages(stages, "w8a8")


def test_any_number_of_stages_of_any_precision_is_a_plan():
    stages = (
        Calibration("first", precision="w8a8"),
        TrainingStage("eight", 1),
        Calibration("second", precision="w4a8"),
        TrainingStage("between", 1, FLOAT32),
        TrainingStage("four", 1, "w4a8"),
    )
    check_stages(stages, "w8a8")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainingStage("float", -1, FLOAT32), "float: steps is -1"),
        (lambda: Calibration(batches=-1), "calibration: batches is -1"),
        (lambda: TrainingStage("aware", 1, bfloat16=True), "aware: bfloat16=True is for"),
        (lambda: check_stages([TrainingStage("a", 1, FLOAT32)] * 2, ""), "a name of its own"),
    ],
)
def test_impossible_stages_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def imitation(teacher, **options):
    objectives = (
        WeightedObjective("map", SquaredError(), weight=0.0),
        WeightedObjective("imitation", Imitation(), **options),
    )
    optimizer = OptimizerConfig(0.05, warmup_steps=1, ema_decay=0.0, weight_decay=0.0)
    return TrainingStage("imitate", 12, FLOAT32, optimizer, objectives=objectives, teacher=teacher)


def run(tmp_path, *stages):
    run = trainer(tmp_path, stages, ToyIterator(), evaluate=False)
    return run.run()


def test_a_teacher_is_beside_the_student(tmp_path):
    """A student that only imitates ends nearer to its teacher than it began."""
    taught = run(tmp_path, imitation("7"))
    theirs = ToyTask().teacher("7").params["w"]
    begun = run(tmp_path / "begun", dataclasses.replace(imitation("7"), steps=1))
    distance = [np.abs(s.params["w"] - theirs).mean() for s in (begun, taught)]
    assert distance[1] < 0.5 * distance[0]
    np.testing.assert_array_equal(taught.teacher["w"], theirs)


def test_the_network_that_a_stage_starts_from_can_teach_it(tmp_path):
    first = TrainingStage("float", 5, FLOAT32, OptimizerConfig(0.05, warmup_steps=1))
    state = run(tmp_path, first, imitation("self"))
    alone = run(tmp_path / "alone", first)
    jax.tree.map(np.testing.assert_array_equal, state.teacher, alone.ema_params)
    # It begins where its teacher is, so there is nothing to learn.
    np.testing.assert_allclose(state.params["w"], alone.ema_params["w"], atol=1e-6)


def test_weights_may_ramp():
    weighted = WeightedObjective("x", SquaredError(), weight=3.0, ramp_from=1.0, ramp_steps=4)
    assert [float(weighted.weight_at(step)) for step in (0, 2, 4, 9)] == [1.0, 2.0, 3.0, 3.0]
    with pytest.raises(ValueError, match="ramp_steps is -1"):
        dataclasses.replace(weighted, ramp_steps=-1)


def test_terms_are_recorded(tmp_path):
    run(tmp_path, dataclasses.replace(imitation("7", weight=0.5), steps=10))
    (first, second) = (r for r in read_records(tmp_path / "metrics.jsonl") if "loss" in r)
    for record in (first, second):
        assert record["terms/map/error"] > 0
        assert record["loss"] == pytest.approx(0.5 * record["terms/imitation/distance"], rel=1e-6)


def test_the_usual_plan_passes():
    check_stages(plan(), "w8a8")
