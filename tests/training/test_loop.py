import io
import itertools
import re
import shutil
import time

import jax
import numpy as np
import pytest

from rnnt_qat.infra.console import Console
from rnnt_qat.infra.mesh import make_mesh, replicated, to_host
from rnnt_qat.training.checkpoints import (
    CheckpointConfig,
    Checkpoints,
    ConfigMismatchError,
    DamagedCheckpointError,
)
from rnnt_qat.training.earlier_states import earlier_form
from rnnt_qat.training.loop import SkippedBatchesError
from rnnt_qat.training.metrics import read_records
from rnnt_qat.training.plan import bind
from tests.training.toy import ToyIterator, ToyTask, create_state, plan, trainer


class CrashError(Exception):
    pass


class CrashingIterator(ToyIterator):
    """Fails when asked for a batch past ``last``."""

    last = 1 << 30

    def __next__(self):
        if self.state()["batch"] >= self.last:
            raise CrashError
        return super().__next__()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    console = Console(io.StringIO(), period_seconds=0.0)
    run = trainer(workdir, plan(), ToyIterator(), console=console)
    return workdir, run, run.run(), console._stream.getvalue()


def test_records_of_all_stages(whole):
    workdir, *_ = whole
    records = read_records(workdir / "metrics.jsonl")
    losses = {r["step"]: r["stage"] for r in records if "loss" in r}
    assert losses == {s: "float" for s in range(5, 31, 5)} | {34: "calibration"} | {
        s: "aware" for s in range(35, 51, 5)
    }
    evaluated = [r["step"] for r in records if "wer" in r]
    assert evaluated == [12, 24, 30, 34, 36, 48, 50]
    assert [r["step"] for r in records] == sorted(r["step"] for r in records)
    throughput = read_records(workdir / "throughput.jsonl")
    stages = [r for r in throughput if "compilations" in r]
    assert [r["compilations"] for r in stages] == [2, 2, 2]
    # The stage's first state, two gradients and the optimizer at least; nothing twice.
    assert all(r["programs"] >= 3 and r["program_seconds"] > 0 for r in stages)


def test_progress_line(whole):
    *_, lines = whole
    last = lines.splitlines()[-1]
    for part in ("aware 50/50", "loss ", "validation WER ", "utterances/s", "audio h/h", "ETA 0 s"):
        assert part in last
    assert "2 batch shapes compiled in" in last


def test_what_takes_time_is_said_and_timed(whole):
    lines = whole[-1].splitlines()
    assert lines[0] == "float 30 steps, calibration 4 steps, aware 16 steps"
    assert "float: compiling for batch shape 1; this can take minutes" in lines
    assert any(re.match(r"float: compiled for batch shape 2 in \d", line) for line in lines)
    assert any(re.match(r"aware 48: validation WER .* % \(measured in \d", line) for line in lines)
    assert any("all stages about" in line for line in lines if line.startswith("float 25/30"))


def test_a_state_that_takes_long_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr("rnnt_qat.infra.progress.QUIET_SECONDS", 0.0)
    console = io.StringIO()

    def create():
        time.sleep(1.5)  # a second passes between two looks at the clock
        raise CrashError

    with pytest.raises(CrashError):
        trainer(tmp_path, plan(), ToyIterator(), create=create, console=Console(console)).run()
    assert "creating or restoring the state: " in console.getvalue()


def test_calibration_reaches_the_aware_stage(whole):
    _, _, state, _ = whole
    seen = [np.abs(b["x"]).max() for b in itertools.islice(ToyIterator(), 34)][30:]
    assert to_host(state.quant_stats)["max_abs"] == max(seen)


def test_best_states(whole):
    workdir, run, *_ = whole
    best = {b.stage: b for b in run.best_states()}
    assert list(best) == ["float", "calibration", "aware"]
    assert [b.precision for b in best.values()] == ["float32", "", ""]
    assert [b.trained for b in best.values()] == [True, False, True]
    measured = [r for r in read_records(workdir / "metrics.jsonl") if "wer" in r]
    for stage, b in best.items():
        of_stage = {r["step"]: r["wer"] for r in measured if r["stage"] == stage}
        assert b.wer == min(of_stage.values()) == of_stage[b.step]
        assert int(b.state.step) == b.step


def test_a_stage_goes_on_from_the_best_state_of_the_one_before(whole):
    _, run, _, lines = whole
    best = {b.stage: b for b in run.best_states()}
    assert best["float"].step == 12  # neither the stage's last, 30, nor the checkpoint before it
    assert "going on from float step 12, its best" in lines
    trees = (best[stage].state.ema_params for stage in ("float", "calibration"))
    for a, b in zip(*map(np_leaves, trees), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("last", [10, 33])
def test_crashed_run_goes_on_as_if_it_had_not(whole, tmp_path, last):
    iterator = CrashingIterator()
    iterator.last = last
    with pytest.raises(CrashError):
        trainer(tmp_path, plan(), iterator).run()
    resumed = trainer(tmp_path, plan(), CrashingIterator()).run()
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()
    for name in ("params", "opt_state", "quant_stats"):
        for a, b in zip(
            *(np_leaves(getattr(state, name)) for state in (whole[2], resumed)), strict=True
        ):
            np.testing.assert_array_equal(a, b)


def sums(batches):
    return sum(b["x"].sum((0, 1)) for b in batches)


@pytest.mark.parametrize("last", [33, 34, 40])
def test_biases_are_corrected_once_after_the_last_batch(tmp_path, last):
    """Also if the run ends before, at or after the end of calibration, and goes on."""
    stages = plan(bias_correction=True)
    iterator = CrashingIterator()
    iterator.last = last
    with pytest.raises(CrashError):
        trainer(tmp_path, stages, iterator, evaluate_every=2).run()
    trainer(tmp_path, stages, ToyIterator(), evaluate_every=2).run()
    again = trainer(tmp_path, stages, ToyIterator(), evaluate_every=2)
    again.run()
    best = {b.stage: b for b in again.best_states()}
    assert best["calibration"].step == 34  # not 32, where the biases are not corrected
    before, after = (best[stage].state for stage in ("float", "calibration"))
    added = sums(itertools.islice(ToyIterator(), 30, 34))
    assert np.abs(added).min() > 0.1
    for old, new in ((before.params, after.params), (before.ema_params, after.ema_params)):
        np.testing.assert_allclose(new["b"], old["b"] - added, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(new["w"], old["w"])


def test_a_calibration_out_of_time_corrects_biases_too(tmp_path):
    stages = plan(0, 40, 0, bias_correction=True)
    trainer(tmp_path, stages, ToyIterator(seconds=0.02), stage_seconds=0.0).run()
    (best,) = trainer(tmp_path, stages, ToyIterator()).best_states()
    counted = np.asarray(best.state.quant_stats["sum"])
    assert np.abs(counted).min() > 0
    np.testing.assert_allclose(best.state.ema_params["b"], -counted, rtol=1e-6)


@pytest.mark.parametrize(("last", "damaged"), [(10, "0_float/7"), (37, "2_aware/36")])
def test_damaged_newest_checkpoint_gives_way_to_the_one_before(whole, tmp_path, last, damaged):
    iterator = CrashingIterator()
    iterator.last = last
    with pytest.raises(CrashError):
        trainer(tmp_path, plan(), iterator).run()
    files = [p for p in (tmp_path / "checkpoints" / damaged / "state").rglob("*") if p.is_file()]
    for file in files:
        file.write_bytes(b"")
    console = Console(io.StringIO(), period_seconds=0.0)
    resumed = trainer(tmp_path, plan(), CrashingIterator(), console=console).run()
    said = console._stream.getvalue()
    assert f"checkpoints/{damaged} is damaged" in said
    assert "moved to" in said
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()
    for a, b in zip(*(np_leaves(s.ema_params) for s in (whole[2], resumed)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_damaged_best_state_is_not_replaced_unasked(whole, tmp_path):
    workdir = shutil.copytree(whole[0], tmp_path / "copy")
    for file in (workdir / "checkpoints/0_float/12/state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    finished = trainer(workdir, plan(), ToyIterator())
    finished.run()
    with pytest.raises(DamagedCheckpointError, match=r"best state of the stage float: .* delete"):
        list(finished.best_states())
    shutil.rmtree(workdir / "checkpoints/0_float/12")
    again = trainer(workdir, plan(), ToyIterator())
    again.run()
    assert next(again.best_states()).step > 12


def np_leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_run_of_another_config_is_refused(whole):
    workdir, *_ = whole
    with pytest.raises(ConfigMismatchError, match="seed: 0 before, 1 now"):
        trainer(workdir, plan(), ToyIterator(), config={"seed": 1}).run()


def test_few_bad_batches_are_skipped_and_counted(tmp_path):
    stages = plan(20, 0, 0)
    iterator = ToyIterator(poisoned=[3, 4, 11])
    trainer(tmp_path, stages, iterator, evaluate=False, skipped_in_a_row_limit=3).run()
    counts = [r["skipped_batches"] for r in read_records(tmp_path / "metrics.jsonl")]
    assert counts == [2, 2, 3, 3]


def test_too_many_bad_batches_in_a_row_end_the_run(tmp_path):
    stages = plan(20, 0, 0)
    iterator = ToyIterator(poisoned=[3, 4, 5])
    with pytest.raises(
        SkippedBatchesError, match=r"3 batches in a row up to step 10 .* not finite"
    ):
        trainer(
            tmp_path,
            stages,
            iterator,
            evaluate=False,
            skipped_in_a_row_limit=3,
            log_every=10,
            checkpoint=CheckpointConfig(every=100),
        ).run()


def test_calibration_that_saw_nothing_is_refused(tmp_path):
    class Silence(ToyIterator):
        def __next__(self):
            return {name: 0 * x for name, x in super().__next__().items()}

    with pytest.raises(ValueError, match="max_abs was not calibrated"):
        trainer(tmp_path, plan(0, 2, 2), Silence()).run()


def test_a_run_of_before_goes_on(whole, tmp_path):
    """Of versions whose states had no hooks, and no learning rate in the optimizer's."""
    iterator = CrashingIterator()
    iterator.last = 10
    with pytest.raises(CrashError):
        trainer(tmp_path, plan(), iterator).run()
    of_now = Checkpoints(tmp_path / "checkpoints/0_float", {"seed": 0})
    step = of_now.latest_step()
    template = jax.eval_shape(bind(plan(), ToyTask())[0].begin, create_state(), ())
    shardings = jax.tree.map(lambda _: replicated(make_mesh()), template)
    restored = of_now.restore(step, template, shardings)
    of_now.close()
    shutil.rmtree(tmp_path / "checkpoints")
    of_before = Checkpoints(tmp_path / "checkpoints/0_float", {"seeds": [0]})
    of_before.save(step, earlier_form(restored.state), restored.iterator_state)
    of_before.close()

    with pytest.raises(ConfigMismatchError):
        trainer(tmp_path, plan(), ToyIterator()).run()

    def upgrade(config):
        return {"seed": config["seeds"][0]} if "seeds" in config else config

    resumed = trainer(tmp_path, plan(), ToyIterator(), upgrade=upgrade).run()
    jax.tree.map(np.testing.assert_array_equal, resumed, whole[2])
