import json
import struct

from tensorboardX.proto.event_pb2 import Event

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


def test_curves_run_through_the_stages(tmp_path):
    for restored in (None, 10):
        writer = MetricsWriter(tmp_path, restored)
        writer.write(*((5, "float") if restored is None else (15, "aware")), {"loss": 1.0})
        writer.write(*((10, "calibration") if restored is None else (20, "aware")), {"loss": 0.5})
        writer.close()
    scalars = {"loss": {}, "stage": {}}
    for file in sorted((tmp_path / "tensorboard").iterdir()):
        for event in events(file):
            for value in event.summary.value:
                if value.tag in scalars:
                    scalars[value.tag][event.step] = value.simple_value
    assert scalars == {
        "loss": {5: 1.0, 10: 0.5, 15: 1.0, 20: 0.5},
        "stage": {5: 0, 10: 1, 15: 2, 20: 2},
    }


def events(path):
    """Events of a file: each is a length, a checksum, as many bytes, a checksum."""
    content, position = path.read_bytes(), 0
    while position < len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        event = Event()
        event.ParseFromString(content[position + 12 : position + 12 + length])
        yield event
        position += length + 16
