import importlib.util

import pytest

from rnnt_qat.training import tracker
from rnnt_qat.training.metrics import MetricsWriter, read_records
from rnnt_qat.training.tracker import MLflowTracker, TrackerError, WandbTracker, require_tracker


class Kept:
    """A tracker that keeps what it is sent."""

    def __init__(self):
        self.records, self.closed = [], False

    def write(self, step, stage, metrics):
        self.records.append({"step": step, "stage": stage, **metrics})

    def close(self):
        self.closed = True


def test_trackers_receive_what_is_written_to_files(tmp_path):
    kept = Kept()
    writer = MetricsWriter(tmp_path, trackers=[kept])
    writer.write(5, "float", {"loss": 1.0})
    writer.write_throughput(5, "float", {"utterances_per_second": 9.0})
    writer.close()
    files = [read_records(tmp_path / f"{n}.jsonl")[0] for n in ("metrics", "throughput")]
    assert kept.records == files
    assert kept.closed


def test_an_unknown_or_missing_tracker_is_named(monkeypatch):
    with pytest.raises(TrackerError, match="--track=neptune: there are mlflow, wandb"):
        require_tracker("neptune")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrackerError, match=r"--track=mlflow: `pip install '\.\[mlflow\]'` in"):
        require_tracker("mlflow")


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="mlflow is an extra")
def test_a_resumed_run_goes_on_in_mlflows_file_store(tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    for step, loss in ((1, 4.0), (2, 3.0)):
        ours = MLflowTracker(tmp_path, {"model.size": 3})
        ours.write(step, "float", {"loss": loss, "a:b/wer": 0.5})
        ours.close()
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("rnnt_qat")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == (tmp_path / "mlflow_run").read_text().strip()
    assert run.info.status == "FINISHED"
    assert run.data.params == {"model.size": "3"}
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 4.0), (2, 3.0)]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="wandb is an extra")
def test_a_run_is_kept_by_wandb_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    ours = WandbTracker(tmp_path, {"model.size": 3})
    ours.write(1, "float", {"loss": 4.0})
    ours.close()
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_the_flag_lists_all_trackers():
    assert set(tracker.TRACKERS) == {"mlflow", "wandb"}
