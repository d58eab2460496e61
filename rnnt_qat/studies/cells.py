"""Cells of a sweep: each policy is trained and measured once and cached on disk."""

import dataclasses
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
from rnnt_qat.infra.config import to_json
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


def measure(
    model: pathlib.Path,
    config: SweepConfig,
    splits: Sequence[Split],
    evaluation: EvaluationConfig,
    data_dir: pathlib.Path,
    workdir: pathlib.Path,
    console: Console,
    recipe: ExperimentConfig | None = None,
    into: str = "results",
) -> list[Measurement]:
    """Trains and evaluates one float model under each policy.

    A policy is not computed again if ``workdir/<slug>/<into>`` holds its results for the same
    model, number of steps, test sets and evaluation config. Interrupted training is resumed.

    Args:
      model: directory of a float recognizer.
      config: policies and number of training steps.
      splits: test sets.
      evaluation: how test sets are decoded.
      data_dir: folder of the prepared corpora.
      workdir: output folder, with a subfolder per policy.
      console: output of progress lines.
      recipe: experiment that provides data, stages and pipeline; None for the model's own.
      into: name of the folder of results, one for each evaluation config of the same models.

    Returns:
      The measurements, starting with the float model's.

    Raises:
      ModelDirectoryError: if the model is not a float one; see ``sweep``.
      ValueError: if a rule of a policy matches no layer of the model.
    """
    depends_on = {
        "model": _digest(model),
        "splits": [to_json(split) for split in splits],
        "evaluation": to_json(evaluation),
    }
    if recipe is not None:
        depends_on["recipe"] = to_json(recipe)
    measured: list[Measurement] = []
    for policy in (None, *config.policies):
        folder = workdir / (slug(policy) if policy else FLOAT) / into
        steps = config.aware_steps if policy else 0
        key = depends_on | {"policy": policy, "aware_steps": steps}
        cell = _read(folder, key)
        if cell is None:
            asked = dataclasses.replace(config, policies=(policy,) if policy else ())
            systems = sweep(model, asked, data_dir, workdir, console, recipe)
            cell = [
                _measured(system, recognizer, splits, evaluation, data_dir, console)
                for system, recognizer in systems.items()
                if (system.stage == FLOAT) == (policy is None)
            ]
            _write(folder, key, cell)
        else:
            console.say(f"{policy or FLOAT}: measured before, {folder}")
        measured += cell
    return measured


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
    if manifest["key"] != json.loads(json.dumps(key)):
        return None
    found = []
    for system in manifest["systems"]:
        results = tuple(load_result(folder / name) for name in system.pop("results"))
        found.append(Measurement(System(**system), results))
    return found


def _digest(model: pathlib.Path) -> str:
    """Returns a digest of the model's parameters and config, which is part of the cell's key."""
    digest = hashlib.sha256()
    for name in ("recognizer.json", "variables.npz"):
        path = model / name
        if path.exists():  # a missing file is reported when the model is loaded
            digest.update(path.read_bytes())
    return digest.hexdigest()
