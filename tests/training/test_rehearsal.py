import time

from rnnt_qat.infra.mesh import make_mesh, to_host
from rnnt_qat.training.checkpoints import WER
from rnnt_qat.training.loop import LoopConfig
from rnnt_qat.training.metrics import read_records
from rnnt_qat.training.plan import bind
from rnnt_qat.training.rehearsal import Rehearsal, rehearse
from tests.training.toy import ToyIterator, ToyTask, create_state, plan, trainer


def timed(seconds_per_batch, **arguments):
    return rehearse(
        bind(plan(), ToyTask())[0],
        create_state(),
        ToyIterator(seconds=seconds_per_batch),
        make_mesh(),
        LoopConfig(),
        **{"shapes": 2, "batches_in_epoch": 8, "ahead": 1, "seconds": 0.0} | arguments,
    )


def test_a_step_takes_at_least_the_time_of_its_batch():
    found = timed(0.02)
    assert 0.02 <= found.seconds_per_step < 0.2
    assert found.steps == 5
    assert found.shapes == 2
    assert 0 < found.lowering_seconds < found.compile_seconds


def test_more_steps_are_timed_for_longer_and_a_shape_that_never_comes_is_not_awaited():
    found = timed(0.01, shapes=3, seconds=0.5)
    assert found.shapes == 2
    assert 10 <= found.steps <= 50


def test_steps_fill_the_time_but_for_lowering_and_a_twentieth():
    found = Rehearsal(
        seconds_per_step=0.5, steps=9, lowering_seconds=5.0, compile_seconds=30.0, shapes=2
    )
    assert found.steps_within(100.0) == 180
    assert found.steps_within(1.0) == 1


def test_a_late_stage_ends_evaluated_and_the_next_follows(tmp_path):
    run = trainer(tmp_path, plan(), ToyIterator(seconds=0.05), stage_seconds=1.0)
    begun = time.monotonic()
    state = run.run()
    assert time.monotonic() - begun < 30
    records = read_records(tmp_path / "metrics.jsonl")
    (left_out,) = [r for r in records if r["stage"] == "float" and "left_out_steps" in r]
    ended = left_out["step"]
    assert 0 < ended < 30
    assert left_out["left_out_steps"] == 30 - ended
    assert any(r["step"] == ended and WER in r for r in records)
    assert int(to_host(state.step)) == 50  # the aware stage came to its end, or was late as well
    assert {best.stage for best in run.best_states()} == {"float", "calibration", "aware"}


def test_a_stage_in_time_is_whole(tmp_path):
    trainer(tmp_path, plan(), ToyIterator(), stage_seconds=1000.0).run()
    records = read_records(tmp_path / "metrics.jsonl")
    assert not any("left_out_steps" in r for r in records)
