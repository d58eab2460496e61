"""The files of a run beside its checkpoints: config, provenance, feature statistics, models."""

import json
import os
import pathlib

from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.frontend.frontend import Frontend, FrontendConfig
from rnnt_qat.frontend.statistics import FeatureStats
from rnnt_qat.infra.config import to_json, upgraded
from rnnt_qat.infra.durable_files import write_text
from rnnt_qat.infra.errors import UserError
from rnnt_qat.infra.provenance import provenance
from rnnt_qat.training.checkpoints import require_same_config
from rnnt_qat.training.run_folder import has_checkpoints

MAY_DIFFER = ("evaluation", "loop", "data.test")
"""Config fields that a resumed run may change, because no parameter update depends on them."""

_CONFIG, _STATS = "config.json", "feature_stats.json"


class WorkdirError(UserError):
    """An unreadable file in a working directory."""


class RunFiles:
    """What a run keeps in its working directory, apart from what the training loop writes.

    Files of a working directory without checkpoints are not read: no run goes on from there.

    Args:
      workdir: the working directory, which need not exist.
    """

    def __init__(self, workdir: pathlib.Path):
        self._workdir = workdir

    def require_same_run(self, config: ExperimentConfig) -> list[str]:
        """Checks that checkpoints in the working directory belong to a config.

        Args:
          config: the config of the run that is to go on.

        Returns:
          One line for each field of ``MAY_DIFFER`` that differs from the saved config's.

        Raises:
          ConfigMismatchError: if other fields differ; the message names them.
          WorkdirError: if the saved config cannot be read.
        """
        path = self._workdir / _CONFIG
        if not has_checkpoints(self._workdir) or not path.exists():
            return []
        try:
            saved = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise WorkdirError(
                f"{path} is damaged ({error}): delete it, and the checkpoints' own copies are "
                "compared instead"
            ) from error
        where, saved = str(self._workdir), upgraded(ExperimentConfig, saved)
        return require_same_config(saved, to_json(config), where, MAY_DIFFER)

    def frontend(self, config: FrontendConfig) -> Frontend | None:
        """Returns a frontend with the feature statistics of the run that is to go on.

        Args:
          config: the frontend's config.

        Returns:
          The frontend; None if there is no such run, or it has no statistics of its own.

        Raises:
          WorkdirError: if the statistics cannot be read.
        """
        path = self._workdir / _STATS
        if not path.exists() or not has_checkpoints(self._workdir):
            return None
        try:
            return Frontend(config, FeatureStats.load(path))
        except (ValueError, KeyError, TypeError) as error:
            raise WorkdirError(
                f"{path} is damaged ({error}): copy it from {self._workdir}/models/float, or "
                "choose another --workdir"
            ) from error

    def claim(self, config: ExperimentConfig, stats: FeatureStats | None) -> None:
        """Writes what identifies a run to its working directory, which exists.

        Args:
          config: the run's config.
          stats: feature statistics that the run has measured; None if they are another model's.
        """
        write_text(self._workdir / _CONFIG, json.dumps(to_json(config), indent=2) + "\n")
        write_text(self._workdir / "provenance.json", json.dumps(provenance(), indent=2) + "\n")
        if stats is not None:
            stats.save(self._workdir / f"{_STATS}.partial")
            os.replace(self._workdir / f"{_STATS}.partial", self._workdir / _STATS)

    def model_directory(self, stage: str) -> pathlib.Path:
        """Returns the folder of a stage's recognizer."""
        return self._workdir / "models" / stage
