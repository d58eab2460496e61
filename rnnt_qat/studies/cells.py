"""Cells of a sweep: each policy is trained and measured once and cached on disk."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from rnnt_qat.evaluation.report import by_test_set, load_result, save_result
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.experiment.config import ExperimentConfig, Split
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.infra.config import ConfigError, to_json, upgraded
from rnnt_qat.infra.console import Console
from rnnt_qat.quant.grammar import slug
from rnnt_qat.studies.comparison import compare_recognizers
from rnnt_qat.studies.sweep import FLOAT, SweepConfig, System, sweep

_MANIFEST = "cell.json"


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
    resumed.

    Attributes:
      model: directory of a float recognizer.
      policy: policy line; None measures the float model.
      aware_steps: see ``SweepConfig``.
      splits: test sets.
      evaluation: how test sets are decoded.
      data_dir: folder of the prepared corpora.
      workdir: output folder of the model, with a subfolder per policy.
      recipe: experiment that provides data, stages and pipeline; None for the model's own.
      into: name of the folder of results, one for each evaluation config of the same models.
    """

    model: pathlib.Path
    policy: str | None
    aware_steps: int | None
    splits: tuple[Split, ...]
    evaluation: EvaluationConfig
    data_dir: pathlib.Path
    workdir: pathlib.Path
    recipe: ExperimentConfig | None = None
    into: str = "results"

    @property
    def name(self) -> str:
        """Model, from the current folder if it lies there, and policy."""
        here = pathlib.Path.cwd()
        model = self.model.relative_to(here) if self.model.is_relative_to(here) else self.model
        return f"{model}, {self.policy or FLOAT}"

    @property
    def folder(self) -> pathlib.Path:
        """Folder of the results."""
        return self.workdir / (slug(self.policy) if self.policy else FLOAT) / self.into

    @property
    def is_done(self) -> bool:
        """Whether the results are there."""
        return _read(self.folder, self._key) is not None

    def __call__(self, console: Console) -> None:
        """Trains and evaluates, unless the results are there.

        Args:
          console: output of progress lines.

        Raises:
          ModelDirectoryError: if the model is not a float one; see ``sweep``.
          ValueError: if a rule of the policy matches no layer of the model.
        """
        if self.is_done:
            console.say(f"{self.policy or FLOAT}: measured before, {self.folder}")
            return
        asked = SweepConfig((self.policy,) if self.policy else (), self.aware_steps)
        systems = sweep(self.model, asked, self.data_dir, self.workdir, console, self.recipe)
        measured = [
            _measured(system, recognizer, self.splits, self.evaluation, self.data_dir, console)
            for system, recognizer in systems.items()
            if (system.stage == FLOAT) == (self.policy is None)
        ]
        _write(self.folder, self._key, measured)

    def measurements(self) -> list[Measurement]:
        """Returns the results.

        Raises:
          FileNotFoundError: if they are not there.
        """
        found = _read(self.folder, self._key)
        if found is None:
            raise FileNotFoundError(
                f"{self.folder} has no results of {self.name}: if it was computed on another "
                "machine, that machine wrote to another folder of this path"
            )
        return found

    @functools.cached_property
    def _key(self) -> dict[str, Any]:
        key = {
            "model": _digest(self.model),
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
    models: Sequence[pathlib.Path],
    seeds: Sequence[int] | None,
    policies: Sequence[str],
    own: ExperimentConfig,
) -> list[list[Cell]]:
    """Returns the cells of each float model with each seed of what follows its float stage.

    The cell of a float model as it is is the same for all seeds.

    Args:
      template: a cell without a policy, for what all have in common; each model and seed takes a
        subfolder ``model_N`` of its folder.
      models: directories of float recognizers.
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
            folder = template.workdir / f"model_{len(found)}"
            seeded = dataclasses.replace(
                template, model=model.absolute(), workdir=folder, recipe=recipe
            )
            first, *others = cells_of(seeded, policies)
            as_it_is = as_it_is or first
            found.append([as_it_is, *others])
    return found


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
    manifest = folder / _MANIFEST
    manifest.unlink(missing_ok=True)
    systems = []
    for each in cell:
        names = [f"{each.system.stage}_{n}.json" for n in range(len(each.results))]
        for name, result in zip(names, each.results, strict=True):
            save_result(result, folder / name)
        systems.append(dataclasses.asdict(each.system) | {"results": names})
    partial = manifest.with_suffix(".partial")
    partial.write_text(json.dumps({"key": key, "systems": systems}, indent=2) + "\n")
    os.replace(partial, manifest)


def _read(folder: pathlib.Path, key: dict[str, Any]) -> list[Measurement] | None:
    """Returns the cached cell, or None if there is none or its key differs."""
    path = folder / _MANIFEST
    if not path.exists():
        return None
    manifest = json.loads(path.read_text())
    if _upgraded(manifest["key"]) != json.loads(json.dumps(key)):
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
