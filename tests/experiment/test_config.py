import dataclasses

import pytest

from rnnt_qat.experiment.config import DataConfig, ExperimentConfig, Split
from rnnt_qat.infra.config import ConfigError, from_json, to_json, upgraded
from rnnt_qat.infra.config_overrides import config_dict, from_config_dict
from rnnt_qat.models.rnnt import RNNTConfig
from rnnt_qat.objectives import CTC, Transducer
from rnnt_qat.training.objective import WeightedObjective
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.task import FLOAT32

EXPERIMENT = ExperimentConfig(
    data=DataConfig((Split("a", "train"),), (), ()),
    model=RNNTConfig(29),
    objectives=(
        WeightedObjective("transducer", Transducer(chunk_frames=4, fastemit_lambda=0.01)),
        WeightedObjective("ctc", CTC(), weight=0.3),
    ),
    stages=(
        TrainingStage("float", 7, FLOAT32, OptimizerConfig(3e-3), bfloat16=True),
        Calibration(batches=3),
        TrainingStage("aware", 5, optimizer=OptimizerConfig(1e-4, warmup_steps=2)),
    ),
)


def of_before():
    """The experiment as versions wrote it whose plans were three fields."""
    data = to_json(EXPERIMENT)
    del data["objectives"], data["stages"], data["model"]["simple_joiner"]
    data["loss"] = {"chunk_frames": 4, "fastemit_lambda": 0.01, "ctc_weight": 0.3}
    optimizers = [to_json(s.optimizer) for s in (EXPERIMENT.stages[0], EXPERIMENT.stages[2])]
    data["stages"] = {
        "float_training": {"steps": 7, "optimizer": optimizers[0], "bfloat16": True},
        "calibration": {"batches": 3},
        "aware_training": {"steps": 5, "optimizer": optimizers[1]},
    }
    return data


def test_a_config_of_before_is_read():
    assert from_json(ExperimentConfig, of_before()) == EXPERIMENT
    assert upgraded(ExperimentConfig, of_before()) == to_json(EXPERIMENT)
    plain = of_before()
    plain["loss"]["ctc_weight"] = 0.0
    (only,) = from_json(ExperimentConfig, plain).objectives
    assert only.objective == Transducer(chunk_frames=4, fastemit_lambda=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": {"a": 1}}, r"stages\.a: no such stage"),
        ({"stages": {}}, r"stages\.aware_training: missing"),
        ({"stages": dict.fromkeys(of_before()["stages"], 3)}, "3 holds no fields"),
        ({"loss": [1]}, "no field 'loss'"),
        ({"loss": {"ctc_weight": "a"}}, "'a' is not of type float"),
    ],
)
def test_a_damaged_config_of_before_is_refused_by_name(change, message):
    with pytest.raises(ConfigError, match=message):
        from_json(ExperimentConfig, of_before() | change)


def test_stages_and_objectives_are_overridden_by_name():
    config = config_dict(EXPERIMENT)
    config.stages.aware.optimizer.learning_rate = 5e-4
    config.stages.calibration.batches = 9
    config.stages.order = "float,calibration"
    config.objectives.ctc.weight = 0.1
    config.objectives.transducer.objective.band_width = 4
    got = from_config_dict(ExperimentConfig, config)
    assert [s.name for s in got.stages] == ["float", "calibration"]
    assert got.stage("calibration").steps == 9
    weights = {o.name: o.weight for o in got.objectives}
    assert weights == {"transducer": 1.0, "ctc": 0.1}
    assert got.objectives[0].objective.band_width == 4
    config.stages.order = "float,calibration,aware"
    assert from_config_dict(ExperimentConfig, config).stages[2].optimizer.learning_rate == 5e-4


def test_a_plan_without_ranges_is_refused():
    with pytest.raises(ValueError, match=r"stages\.aware\.steps=5 needs ranges of w8a8"):
        dataclasses.replace(EXPERIMENT, stages=EXPERIMENT.stages[2:])


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((), "no stage has steps"),
        ((TrainingStage("float", 0, FLOAT32), Calibration(batches=0)), "no stage has steps"),
        ((TrainingStage("float", 0, FLOAT32), Calibration()), "calibrate random parameters"),
        (
            (Calibration(), TrainingStage("aware", 5)),
            r"stages\.calibration would calibrate .* initialize_from",
        ),
    ],
)
def test_what_would_train_nothing_is_refused(stages, message):
    config = dataclasses.replace(EXPERIMENT, stages=stages)
    with pytest.raises(ConfigError, match=message):
        config.check_trainable()
    if stages and "random" in message:
        dataclasses.replace(config, initialize_from="models/float").check_trainable()
    EXPERIMENT.check_trainable()
