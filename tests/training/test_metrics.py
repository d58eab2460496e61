import json

from rnnt_qat.training.metrics import MetricsWriter, read_records


def test_resumed_run_reads_as_if_never_interrupted(tmp_path):
    writer = MetricsWriter(tmp_path)
    for step in (5, 10, 15):
        writer.write(step, "float", {"loss": 1.0 / step})
        writer.write_throughput(step, "float", {"utterances_per_second": 3.0})
    writer.close()
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "sta')  # a kill in the middle of a line

    resumed = MetricsWriter(tmp_path, restored_step=10)
    assert [r["step"] for r in read_records(tmp_path / "metrics.jsonl")] == [5, 10]
    resumed.write(15, "float", {"loss": 1.0 / 15})
    resumed.close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole
    assert [json.loads(line)["step"] for line in (tmp_path / "throughput.jsonl").open()] == [5, 10]


def test_new_run_starts_empty(tmp_path):
    MetricsWriter(tmp_path).write(5, "float", {"loss": 1.0})
    MetricsWriter(tmp_path).close()
    assert read_records(tmp_path / "metrics.jsonl") == []


def test_other_processes_write_nothing(tmp_path):
    writer = MetricsWriter(tmp_path / "new", enabled=False)
    writer.write(5, "float", {"loss": 1.0})
    writer.close()
    assert not (tmp_path / "new").exists()
