"""Records of a run as JSONL and TensorBoard, without gaps or repetitions after a resume."""

import json
import os
import pathlib
import time
from collections.abc import Mapping, Sequence

import tensorboardX

from rnnt_qat.training.tracker import Tracker

METRICS = "metrics.jsonl"
"""Name of the file of the model's metrics."""


class MetricsWriter:
    """A writer of scalar metrics by step.

    ``metrics.jsonl`` depends on the config and the seed only, so two runs of one config write the
    same file; ``throughput.jsonl`` depends on the machine. TensorBoard receives both, with one
    curve per metric through all stages and the curve ``stage`` with each stage's number and name.

    Args:
      directory: folder of the files; created if missing.
      restored_step: step of the restored checkpoint. Records of later steps are dropped, because
        they will be written again. None for a new run, which starts with empty files.
      enabled: whether this process writes; True on exactly one process.
      trackers: services that receive the same records; closed with the writer.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        restored_step: int | None = None,
        enabled: bool = True,
        trackers: Sequence[Tracker] = (),
    ):
        self._enabled = enabled
        self._trackers = tuple(trackers)
        if not enabled:
            return
        directory.mkdir(parents=True, exist_ok=True)
        last = -1 if restored_step is None else restored_step
        self._metrics_path = directory / METRICS
        self._metrics = _open_truncated(self._metrics_path, last)
        self._throughput = _open_truncated(directory / "throughput.jsonl", last)
        # A resumed run continues the stage numbers of the interrupted run.
        self._stages = list(dict.fromkeys(r["stage"] for r in read_records(self._metrics_path)))
        self._tensorboard = tensorboardX.SummaryWriter(
            str(directory / "tensorboard"),
            purge_step=None if restored_step is None else restored_step + 1,
            filename_suffix=f".{time.time_ns()}",  # names would collide within one second
        )

    def write(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        """Writes the model's metrics at a step and flushes them to disk.

        Args:
          step: number of batches processed.
          stage: name of the stage.
          metrics: values by name.
        """
        self._append("_metrics", step, stage, metrics)

    def write_throughput(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        """Writes throughput metrics of the interval that ends at a step.

        Args:
          step: number of batches processed.
          stage: name of the stage.
          metrics: values by name.
        """
        self._append("_throughput", step, stage, metrics)

    def _append(self, stream: str, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        if not self._enabled:
            return
        file = getattr(self, stream)
        file.write(json.dumps({"step": step, "stage": stage, **metrics}) + "\n")
        file.flush()
        if stage not in self._stages:
            self._stages.append(stage)
            self._tensorboard.add_text("stages", f"{stage} from step {step}", step)
        self._tensorboard.add_scalar("stage", self._stages.index(stage), step)
        for name, value in metrics.items():
            self._tensorboard.add_scalar(name, value, step)
        for tracker in self._trackers:
            tracker.write(step, stage, metrics)

    def close(self) -> None:
        """Flushes and closes all files."""
        if self._enabled:
            self._metrics.close()
            self._throughput.close()
            self._tensorboard.close()
            for tracker in self._trackers:
                tracker.close()


def read_records(path: pathlib.Path) -> list[dict]:
    """Reads the records of a JSONL file, in order, up to a line truncated by a killed process."""
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def _open_truncated(path: pathlib.Path, last_step: int):
    """Opens a file for appending after atomically dropping records past ``last_step``."""
    records = [r for r in read_records(path) if r["step"] <= last_step] if path.exists() else []
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(r) + "\n" for r in records))
    os.replace(partial, path)
    return path.open("a")
