import dataclasses
import io

import jax
import numpy as np
import pytest

from rnnt_qat.infra.console import Console
from rnnt_qat.training.metrics import read_records
from rnnt_qat.training.optimizer import OptimizerConfig
from rnnt_qat.training.plateau import plateaued
from rnnt_qat.training.stages import Calibration, TrainingStage
from rnnt_qat.training.task import FLOAT32
from tests.training.toy import ToyIterator, trainer


@pytest.mark.parametrize(
    ("errors", "patience", "expected"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.4], 1, False),
        ([0.5, 0.5], 1, True),
        ([0.5, 0.4, 0.45], 2, False),  # one evaluation without a fall
        ([0.5, 0.4, 0.45, 0.41], 2, True),
        ([0.5, 0.4, 0.45, 0.39], 2, False),
        ([0.5, 0.4, 0.45, 0.41, 0.39], 3, False),
    ],
)
def test_a_stage_has_plateaued_if_its_last_errors_are_not_below_the_best(
    errors, patience, expected
):
    assert plateaued(errors, patience) is expected


# The toy's "WER" is the mean magnitude of its weights, which grows as the map is learned.
STAGES = (
    TrainingStage("float", 30, FLOAT32, OptimizerConfig(0.02, warmup_steps=3), patience=2),
    Calibration(batches=2),
    TrainingStage("aware", 6, optimizer=OptimizerConfig(0.02, warmup_steps=1)),
)


class StoppedError(Exception):
    pass


class Stopping(ToyIterator):
    """Stops between the second evaluation and the third, which ends the stage."""

    def __next__(self):
        if self.state()["batch"] == 14:
            raise StoppedError
        return super().__next__()


def run(workdir, iterator, stages=STAGES):
    console = Console(io.StringIO(), period_seconds=0.0)
    made = trainer(workdir, stages, iterator, evaluate_every=6, console=console)
    return made.run(), console._stream.getvalue()


def test_the_next_stage_begins_where_errors_no_longer_fall(tmp_path):
    state, said = run(tmp_path / "whole", ToyIterator())
    assert "float 18: no lower WER in 2 evaluations; the stage ends, 12 steps are left out" in said
    records = read_records(tmp_path / "whole/metrics.jsonl")
    steps = [r["step"] for r in records if r["stage"] == "float" and "wer" in r]
    assert steps == [6, 12, 18]
    assert [r["step"] for r in records if "left_out_steps" in r] == [18]
    assert int(state.step) == 38  # the stages' steps, of which 12 were left out

    with pytest.raises(StoppedError):
        run(tmp_path / "cut", Stopping())
    resumed, _ = run(tmp_path / "cut", ToyIterator())
    jax.tree.map(np.testing.assert_array_equal, resumed, state)


def test_without_patience_all_steps_run(tmp_path):
    stages = (dataclasses.replace(STAGES[0], patience=0),)
    _, said = run(tmp_path, ToyIterator(), stages)
    assert "left out" not in said
    assert read_records(tmp_path / "metrics.jsonl")[-1]["step"] == 30


def test_negative_patience_is_refused():
    with pytest.raises(ValueError, match="patience is -1"):
        TrainingStage("float", patience=-1)
