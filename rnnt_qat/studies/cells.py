"""Cells of a sweep: each policy is trained and measured once and kept, on disk or in a store."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
import uuid
from collections.abc import Sequence
from typing import Any

from rnnt_qat.evaluation.report import by_test_set, load_result, save_result
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.experiment.config import ExperimentConfig, Split
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.remote_paths import (
    WORKDIR,
    absolute_place,
    is_empty,
    open_workdir,
    readable_folder,
)
from rnnt_qat.infra.config import ConfigError, to_json, upgraded
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.durable_files import changed_files, checksum
from rnnt_qat.infra.mirror import Layout, Unit
from rnnt_qat.infra.remote_copy import local_copy
from rnnt_qat.infra.remote_store import is_remote
from rnnt_qat.quant.grammar import slug
from rnnt_qat.studies.comparison import compare_recognizers
from rnnt_qat.studies.sweep import FLOAT, SweepConfig, System, sweep

_MANIFEST = "cell.json"

_RECORDS = ("*/metrics.jsonl", "*/*/metrics.jsonl")


def _results_intact(folder: pathlib.Path) -> bool:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text("utf-8"))
        return not changed_files(folder, manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


CELL = Layout(
    (*WORKDIR.units, Unit("results[^/]*", _MANIFEST, lambda folder: True, _results_intact)),
    WORKDIR.loose,
)
"""What of a cell's folder is mirrored; its results come after the models that they are of."""

SWEEP = Layout((), r"(?!.*\.partial$)(report|chip|logs)/.*")
"""What of a sweep's folder is mirrored by the process that runs it, beside cells and models."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A system with its evaluation results.

    Attributes:
      system: a float model under a policy.
      results: one result per test set and chunk size.
    """

    system: System
    results: tuple[EvaluationResult, ...]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One float model under one policy, or as it is: a ``studies.engine.Task``.

    Its results are files in ``workdir/<slug of the policy>/<into>``. They are not computed again
    for the same model, number of steps, test sets and evaluation config. Interrupted training is
    resumed. Of what is in an object store, the process that runs the cell downloads what it needs
    and uploads what it has made; only the corpora must be folders there.

    Attributes:
      model: absolute path or URL of the directory of a float recognizer.
      policy: policy line; None measures the float model.
      aware_steps: see ``SweepConfig``.
      splits: test sets.
      evaluation: how test sets are decoded.
      data_dir: folder of the prepared corpora.
      workdir: absolute path or URL of the model's output folder, with a subfolder per policy.
      recipe: experiment that provides data, stages and pipeline; None for the model's own.
      into: name of the folder of results, one for each evaluation config of the same models.
    """

    model: str
    policy: str | None
    aware_steps: int | None
    splits: tuple[Split, ...]
    evaluation: EvaluationConfig
    data_dir: pathlib.Path
    workdir: str
    recipe: ExperimentConfig | None = None
    into: str = "results"

    @property
    def name(self) -> str:
        """Model, from the current folder if it lies there, and policy."""
        return f"{self.model.removeprefix(f'{pathlib.Path.cwd()}/')}, {self.policy or FLOAT}"

    @property
    def place(self) -> str:
        """Path or URL of the training run and the results."""
        return f"{self.workdir}/{slug(self.policy) if self.policy else FLOAT}"

    @property
    def folder(self) -> str:
        """Path or URL of the results."""
        return f"{self.place}/{self.into}"

    @property
    def is_done(self) -> bool:
        """Whether the results are there."""
        return self._stored() is not None

    def __call__(self, console: Console) -> None:
        """Trains and evaluates, unless the results are there.

        Args:
          console: output of progress lines.

        Raises:
          ModelDirectoryError: if the model is not a float one; see ``sweep``.
          ValueError: if a rule of the policy matches no layer of the model.
          WorkdirInUseError, RemoteStoreError: see ``open_workdir``.
        """
        if self.is_done:
            console.say(f"{self.policy or FLOAT}: measured before, {self.folder}")
            return
        asked = SweepConfig((self.policy,) if self.policy else (), self.aware_steps)
        with open_workdir(self.place, console, layout=CELL) as opened:
            results = opened.path / self.into
            if _read(results, self._key) is not None:
                return  # measured by a run that could not upload it, which happens on leaving
            workdir = dataclasses.replace(opened, path=opened.path.parent, name=self.workdir)
            systems = sweep(self.model, asked, self.data_dir, workdir, console, self.recipe)
            measured = [
                _measured(system, recognizer, self.splits, self.evaluation, self.data_dir, console)
                for system, recognizer in systems.items()
                if (system.stage == FLOAT) == (self.policy is None)
            ]
            _write(results, self._key, measured)

    def measurements(self) -> list[Measurement]:
        """Returns the results.

        Raises:
          FileNotFoundError: if they are not there.
        """
        found = self._stored()
        if found is None:
            raise FileNotFoundError(
                f"{self.folder} has no results of {self.name}: if it was computed on another "
                "machine, that machine wrote to another folder of this path"
            )
        return found

    def _stored(self) -> list[Measurement] | None:
        """Returns the results; None if they are not there."""
        return None if is_empty(self.folder) else _read(readable_folder(self.folder), self._key)

    @functools.cached_property
    def _key(self) -> dict[str, Any]:
        key = {
            "model": _digest(readable_folder(self.model)),
            "splits": [to_json(split) for split in self.splits],
            "evaluation": to_json(self.evaluation),
            "policy": self.policy,
            "aware_steps": self.aware_steps if self.policy else 0,
        }
        return key if self.recipe is None else key | {"recipe": to_json(self.recipe)}


def cells_of(as_it_is: Cell, policies: Sequence[str]) -> list[Cell]:
    """Returns the cell of a float model as it is, and those of the model under each policy.

    Args:
      as_it_is: the first of them, without a policy.
      policies: policy lines.
    """
    return [as_it_is, *(dataclasses.replace(as_it_is, policy=policy) for policy in policies)]


def cells_of_seeds(
    template: Cell,
    models: Sequence[str],
    seeds: Sequence[int] | None,
    policies: Sequence[str],
    own: ExperimentConfig,
) -> list[list[Cell]]:
    """Returns the cells of each float model with each seed of what follows its float stage.

    The cell of a float model as it is is the same for all seeds.

    Args:
      template: a cell without a policy, for what all have in common; each model and seed takes a
        subfolder ``model_N`` of its folder.
      models: directories or URLs of float recognizers.
      seeds: seeds of calibration and training; None for that of the recipe.
      policies: policy lines.
      own: the models' own experiment, for a template without a recipe.
    """
    found: list[list[Cell]] = []
    for model in models:
        as_it_is = None
        for seed in (None,) if seeds is None else seeds:
            recipe = template.recipe
            if seed is not None:
                recipe = dataclasses.replace(recipe or own, seed=seed)
            folder = f"{template.workdir}/model_{len(found)}"
            seeded = dataclasses.replace(
                template, model=absolute_place(model), workdir=folder, recipe=recipe
            )
            first, *others = cells_of(seeded, policies)
            as_it_is = as_it_is or first
            found.append([as_it_is, *others])
    return found


def training_runs(workdir: str) -> dict[str, pathlib.Path]:
    """Returns folders with the records of a sweep's training runs, by their names.

    Args:
      workdir: folder or URL of the sweep, with a finished cell.

    Raises:
      RemoteStoreError: if it cannot be read.
    """
    folder = pathlib.Path(workdir)
    if is_remote(workdir):  # some cells have no records, but all a manifest
        names = rf"metrics\.jsonl|throughput\.jsonl|{_MANIFEST}"
        wanted = re.compile(rf"(model|seed)_\d+/(.*/)?({names})")
        folder = local_copy(workdir, lambda name: wanted.fullmatch(name) is not None)
    records = [path for pattern in _RECORDS for path in sorted(folder.glob(pattern))]
    return {str(path.parent.relative_to(folder)): path.parent for path in records}


def results_of(measured: Sequence[Measurement]) -> list[EvaluationResult]:
    """Returns all results, grouped by test set, with the systems in order."""
    results = [result for each in measured for result in each.results]
    return [result for group in by_test_set(results).values() for result in group]


def _measured(
    system: System,
    recognizer: Recognizer,
    splits: Sequence[Split],
    evaluation: EvaluationConfig,
    data_dir: pathlib.Path,
    console: Console,
) -> Measurement:
    named = {system.name: recognizer}
    results = compare_recognizers(named, splits, evaluation, data_dir, console)
    return Measurement(system, tuple(results))


def _write(folder: pathlib.Path, key: dict[str, Any], cell: Sequence[Measurement]) -> None:
    """Writes a cell; the manifest comes last, so a folder without one is not a complete cell."""
    folder.mkdir(parents=True, exist_ok=True)
    checked = {}
    manifest = folder / _MANIFEST
    manifest.unlink(missing_ok=True)
    systems = []
    for each in cell:
        names = [f"{each.system.stage}_{n}.json" for n in range(len(each.results))]
        for name, result in zip(names, each.results, strict=True):
            save_result(result, folder / name)
            checked[name] = checksum(folder / name)
        systems.append(dataclasses.asdict(each.system) | {"results": names})
    partial = manifest.with_suffix(".partial")
    # A mirror uploads what has another seal: results measured anew after damage are equal.
    content = {"key": key, "systems": systems, "sha256": checked, "written": uuid.uuid4().hex}
    partial.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(partial, manifest)


def _read(folder: pathlib.Path, key: dict[str, Any]) -> list[Measurement] | None:
    """Returns the cached cell; None if there is none, its key differs or its files do."""
    path = folder / _MANIFEST
    if not path.exists():
        return None
    manifest = json.loads(path.read_text())
    if _upgraded(manifest["key"]) != json.loads(json.dumps(key)):
        return None
    if changed_files(folder, manifest.get("sha256", {})):  # earlier versions took none
        return None
    found = []
    for system in manifest["systems"]:
        results = tuple(load_result(folder / name) for name in system.pop("results"))
        found.append(Measurement(System(**system), results))
    return found


def _upgraded(key: dict[str, Any]) -> dict[str, Any]:
    """Gives the configs of a stored key the fields that were added since, with their defaults."""
    found = dict(key)
    try:
        for name, cls in (("evaluation", EvaluationConfig), ("recipe", ExperimentConfig)):
            if name in key:
                found[name] = json.loads(json.dumps(upgraded(cls, key[name])))
    except ConfigError:
        return key  # a field that no longer exists: not the same cell
    return found


def _digest(model: pathlib.Path) -> str:
    """Returns a digest of the model's parameters and config, which is part of the cell's key."""
    digest = hashlib.sha256()
    for name in ("recognizer.json", "variables.npz"):
        path = model / name
        if path.exists():  # a missing file is reported when the model is loaded
            digest.update(path.read_bytes())
    return digest.hexdigest()
