import pytest

from rnnt_qat.training.stages import AwareTraining, Calibration, FloatTraining, StagePlan
from tests.training.toy import ToyTask


def test_stages_without_steps_are_left_out():
    plan = StagePlan(FloatTraining(3), Calibration(0), AwareTraining(0))
    assert [(p.name, p.steps, p.aware) for p in plan.programs(ToyTask())] == [("float", 3, False)]


def test_aware_training_needs_calibration():
    with pytest.raises(ValueError, match=r"stages\.calibration\.batches"):
        StagePlan(FloatTraining(1), Calibration(0), AwareTraining(1))
