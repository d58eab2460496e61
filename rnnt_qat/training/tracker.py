"""Services that a run's records are sent to, beside its own files and TensorBoard.

A tracker is optional: its package is an extra, imported only when it is asked for. A resumed run
goes on in the same run of the service, whose id is kept in the working directory.
"""

import importlib.util
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rnnt_qat.infra.errors import UserError
from rnnt_qat.missing_packages import install_extra

Scalars = Mapping[str, float]


class TrackerError(UserError, ValueError):
    """A tracker that is unknown or whose package is not installed."""


class Tracker(Protocol):
    """Receives the records of a run."""

    def write(self, step: int, stage: str, metrics: Scalars) -> None:
        """Sends metrics of a step.

        Args:
          step: number of batches processed.
          stage: name of the stage.
          metrics: values by name.
        """

    def close(self) -> None:
        """Sends what remains and ends the run."""


class MLflowTracker:
    """Records in MLflow, at ``MLFLOW_TRACKING_URI``.

    Args:
      directory: working directory of the run; its name is that of the run.
      config: flat config of the run, kept as parameters.
    """

    def __init__(self, directory: pathlib.Path, config: Mapping[str, Any]):
        import mlflow

        self._client = mlflow.MlflowClient()
        path = directory / "mlflow_run"
        if path.exists():
            self._run = path.read_text().strip()
            self._client.update_run(self._run, "RUNNING")
            return
        name = "rnnt_qat"
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = experiment.experiment_id if experiment else None
        experiment_id = experiment_id or self._client.create_experiment(name)
        run = self._client.create_run(experiment_id, run_name=directory.name)
        self._run = run.info.run_id
        for key, value in config.items():
            self._client.log_param(self._run, key, str(value)[:500])
        path.write_text(self._run + "\n")

    def write(self, step: int, stage: str, metrics: Scalars) -> None:
        """Sends metrics of a step; the stage is a tag."""
        self._client.set_tag(self._run, "stage", stage)
        for name, value in metrics.items():
            self._client.log_metric(self._run, _allowed(name), float(value), step=step)

    def close(self) -> None:
        """Ends the run."""
        self._client.set_terminated(self._run)


class WandbTracker:
    """Records in Weights & Biases, or in local files with ``WANDB_MODE=offline``.

    Args:
      directory: working directory of the run; its name is that of the run.
      config: flat config of the run.
    """

    def __init__(self, directory: pathlib.Path, config: Mapping[str, Any]):
        import wandb

        path = directory / "wandb_run"
        given = path.read_text().strip() if path.exists() else None
        self._run = wandb.init(
            project="rnnt_qat",
            name=directory.name,
            dir=str(directory),
            config=dict(config),
            id=given,
            resume="allow",
        )
        path.write_text(f"{self._run.id}\n")

    def write(self, step: int, stage: str, metrics: Scalars) -> None:
        """Sends metrics of a step; the stage is one of them."""
        self._run.log({"stage": stage, **metrics}, step=step)

    def close(self) -> None:
        """Sends what remains and ends the run."""
        self._run.finish()


TRACKERS: dict[str, Callable[[pathlib.Path, Mapping[str, Any]], Tracker]] = {
    "mlflow": MLflowTracker,
    "wandb": WandbTracker,
}
"""Trackers by the name of their package."""


def require_tracker(name: str) -> str:
    """Returns a tracker's name if it can be used.

    Raises:
      TrackerError: if it is unknown, or its package is not installed.
    """
    if name not in TRACKERS:
        raise TrackerError(f"--track={name}: there are {', '.join(TRACKERS)}")
    if importlib.util.find_spec(name) is None:
        raise TrackerError(f"--track={name}: {install_extra(name)} installs it")
    return name


def _allowed(name: str) -> str:
    """Returns a metric's name with what MLflow does not allow replaced."""
    return "".join(c if c.isalnum() or c in "_-./ :" else "_" for c in name)
