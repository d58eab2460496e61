"""Records of a run: JSONL and TensorBoard, which read as if it had never been interrupted."""

import json
import os
import pathlib
import time
from collections.abc import Mapping

import tensorboardX


class MetricsWriter:
    """Appends scalars by step.

    ``metrics.jsonl`` holds what the config and the seed decide, so two runs of one config write
    the same file; ``throughput.jsonl`` holds what the machine decides. TensorBoard shows both, one
    curve a metric through all stages, and the curve ``stage`` with each one's number and name.

    Args:
      directory: created if missing.
      restored_step: records past this step are dropped, for they will be written again; None for
        a new run, which starts empty.
      enabled: False on all processes but one.
    """

    def __init__(
        self, directory: pathlib.Path, restored_step: int | None = None, enabled: bool = True
    ):
        self._enabled = enabled
        if not enabled:
            return
        directory.mkdir(parents=True, exist_ok=True)
        last = -1 if restored_step is None else restored_step
        self._metrics_path = directory / "metrics.jsonl"
        self._metrics = _open_truncated(self._metrics_path, last)
        self._throughput = _open_truncated(directory / "throughput.jsonl", last)
        # A resumed run numbers its stages as the run before did.
        self._stages = list(dict.fromkeys(r["stage"] for r in read_records(self._metrics_path)))
        self._tensorboard = tensorboardX.SummaryWriter(
            str(directory / "tensorboard"),
            purge_step=None if restored_step is None else restored_step + 1,
            filename_suffix=f".{time.time_ns()}",  # files of one second would bear one name
        )

    def write(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        """What the model did at ``step``; on disk when this returns."""
        self._append("_metrics", step, stage, metrics)

    def write_throughput(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        """How fast the machine went up to ``step``."""
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

    def close(self) -> None:
        """Flushes and closes all files."""
        if self._enabled:
            self._metrics.close()
            self._throughput.close()
            self._tensorboard.close()


def read_records(path: pathlib.Path) -> list[dict]:
    """The records of a JSONL file, in order; a last line cut short by a kill is left out."""
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def _open_truncated(path: pathlib.Path, last_step: int):
    """Opens for appending after dropping records past ``last_step``, in one atomic exchange."""
    records = [r for r in read_records(path) if r["step"] <= last_step] if path.exists() else []
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(r) + "\n" for r in records))
    os.replace(partial, path)
    return path.open("a")
