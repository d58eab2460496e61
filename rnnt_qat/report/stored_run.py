"""Stored results of one evaluation, sweep or export, as a report reads them.

Files of a folder; all but the results are optional::

    <test set>-<system>-<chunk>.json   evaluation results; an export keeps them in ``evaluation/``
    results.json                       their order
    provenance.json                    versions, machine, commit and command
    systems.json                       policy, stage, parameters and bytes of each system
    curves.json                        records of training runs, by name
    grid.csv                           table of a sweep
    latency.csv                        engine latencies of an export
    diagnosis-<system>.json            what each operator does to its values
"""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from rnnt_qat.evaluation.report import RESULTS_INDEX, ResultError, load_result
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.training.metrics import read_records

Json = dict[str, Any]

_OWN_FILES = {"provenance.json", "systems.json", "curves.json"}


@dataclasses.dataclass(frozen=True)
class Curves:
    """Records of one training run.

    Attributes:
      metrics: records of the model: ``step``, ``stage``, losses, error rates, saturation.
      throughput: records of the machine: ``step``, ``stage``, utterances per second.
    """

    metrics: tuple[Json, ...]
    throughput: tuple[Json, ...]


@dataclasses.dataclass(frozen=True)
class StoredRun:
    """Everything that a folder of results holds.

    Attributes:
      name: name of the run in reports of several.
      folder: where it was read from.
      results: evaluation results, grouped by test set; the first of each is the baseline.
      provenance: versions, machine, commit and command; empty if not stored.
      systems: facts about each system, by name.
      curves: records of training, by name of the training run.
      grid: rows of a sweep's table.
      latency: rows of an export's table of engine latencies.
      diagnoses: diagnoses of arithmetic, one per system, in the order of the results.
    """

    name: str
    folder: pathlib.Path
    results: tuple[EvaluationResult, ...]
    provenance: Json
    systems: Mapping[str, Json]
    curves: Mapping[str, Curves]
    grid: tuple[dict[str, str], ...]
    latency: tuple[dict[str, str], ...]
    diagnoses: tuple[Json, ...]

    @classmethod
    def load(cls, folder: pathlib.Path) -> "StoredRun":
        """Reads a folder of results.

        Raises:
          ResultError: if it has no results, or a file is damaged; the message names it.
        """
        inner = folder / "evaluation"
        evaluation = inner if inner.is_dir() else folder
        others = {*_OWN_FILES, RESULTS_INDEX}
        paths = [p for p in sorted(evaluation.glob("*.json")) if p.name not in others]
        diagnoses = [p for p in paths if p.name.startswith("diagnosis-")]
        index = evaluation / RESULTS_INDEX
        if index.exists():  # folders of earlier versions have none
            paths = [evaluation / name for name in _json(index)["results"]]
        results = [load_result(path) for path in paths if path not in diagnoses]
        if not results:
            raise ResultError(
                f"{folder} holds no evaluation results: give the folder that `evaluate`, `sweep` "
                "or `export` wrote, e.g. WORKDIR/report"
            )
        sets = list(dict.fromkeys(result.test_set for result in results))
        order = {result.system: number for number, result in enumerate(results)}
        found = sorted(map(_json, diagnoses), key=lambda d: order.get(d["system"], len(order)))
        curves = _json(evaluation / "curves.json")
        return cls(
            name=folder.absolute().parent.name if folder.name == "report" else folder.name,
            folder=folder,
            results=tuple(sorted(results, key=lambda result: sets.index(result.test_set))),
            provenance=_json(evaluation / "provenance.json"),
            systems=_json(evaluation / "systems.json"),
            curves={
                name: Curves(tuple(records["metrics"]), tuple(records["throughput"]))
                for name, records in curves.items()
            },
            grid=_rows(folder / "grid.csv"),
            latency=_rows(folder / "latency.csv"),
            diagnoses=tuple(found),
        )


def save_curves(folder: pathlib.Path, runs: Mapping[str, pathlib.Path]) -> None:
    """Copies the records of training runs into a folder of results, for its report.

    Args:
      folder: folder of results.
      runs: working directories of training runs, by name; those without records are omitted.
    """
    found = {}
    for name, directory in runs.items():
        if (directory / "metrics.jsonl").exists():
            throughput = directory / "throughput.jsonl"
            found[name] = {
                "metrics": read_records(directory / "metrics.jsonl"),
                "throughput": read_records(throughput) if throughput.exists() else [],
            }
    if found:
        (folder / "curves.json").write_text(json.dumps(found) + "\n")


def _json(path: pathlib.Path) -> Json:
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ResultError(f"{path} is damaged ({error}): run the command that wrote it") from error


def _rows(path: pathlib.Path) -> tuple[dict[str, str], ...]:
    if not path.exists():
        return ()
    with path.open(newline="") as file:
        return tuple(csv.DictReader(file))
