"""Deployment of a sweep's systems: frozen, replayed, compiled, beside the errors measured."""

import dataclasses
import pathlib
import shutil
from collections.abc import Sequence

from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.infra.console import Console
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.latency.systems import Method, describe
from rnnt_qat.latency.systems import System as ChipSystem
from rnnt_qat.latency.targets import NpuTarget
from rnnt_qat.quant.grammar import slug
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.studies.cells import Measurement
from rnnt_qat.studies.chip_comparison import compare_on_chips
from rnnt_qat.studies.chip_report import REPORT, write_chip_report
from rnnt_qat.studies.chip_systems import ChipComparisonConfig, require_a_chip
from rnnt_qat.studies.deployment import has_tosa_tools
from rnnt_qat.studies.finished_export import FinishedExport
from rnnt_qat.studies.sweep import AWARE, FLOAT, System

_CHUNK_FRAMES = 4  # ``experiments.export`` compares chunk sizes


def deploy_sweep(
    measured: Sequence[Measurement],
    model: pathlib.Path,
    folder: pathlib.Path,
    splits: Sequence[Split],
    targets: Sequence[NpuTarget],
    data_dir: pathlib.Path,
    output: pathlib.Path,
    console: Console,
    command: str,
    by_beam: Sequence[EvaluationResult] = (),
) -> tuple[pathlib.Path, bool]:
    """Takes the systems of one float model to chips and writes the report.

    Systems that were trained through all of a chip's arithmetic are replayed on the first test set.
    What was exported before from the same inputs is not exported again (``finished_export``).

    Args:
      measured: the systems with their results, the float model first.
      model: directory of the float model.
      folder: ``workdir`` of the cells, which holds the models of the policies.
      splits: test sets of the results.
      targets: chips to compile for; the first one is that of the headline table.
      data_dir: folder of the prepared corpora.
      output: output folder, replaced unless it holds the export of the same inputs.
      console: output of progress lines.
      command: command line to show in the report.
      by_beam: results of the same systems by a beam search, under names of their own.

    Returns:
      The report's path, and whether every replay equals the player in all tokens and integers.

    Raises:
      FreezeError: if no policy is an exportable chip's; the message says which are.
    """
    systems, results, paths = {}, [], {}
    for each in measured:
        system = _on_chip(each.system)
        path = model
        if each.system.stage != FLOAT:
            path = folder / slug(each.system.policy) / "models" / each.system.stage
        systems[system], paths[system.name] = Recognizer.load(path), path
        chunk_ms = each.results[0].chunk_ms
        results += [
            dataclasses.replace(result, system=system.name)
            for result in each.results
            if result.chunk_ms == chunk_ms
        ]
    shown = {result.chunk_ms for result in results}
    results += [result for result in by_beam if result.chunk_ms in shown]
    require_a_chip(systems)
    config = ChipComparisonConfig(
        tuple(splits),
        tuple(splits[:1]),
        tuple(targets),
        chunks=(_CHUNK_FRAMES,),
        replayed=(Method.AWARE,),
    )
    order = [split.name for split in splits]
    results.sort(key=lambda result: order.index(result.test_set))
    replayed = [
        open_corpus(data_dir, split.corpus, split.split)
        for split in config.replay
        if any(system.method in config.replayed for system in systems)
    ]
    tools = {"tosa": has_tosa_tools()}
    finished = FinishedExport.of(output, paths, results, replayed, config, tools)
    if finished.is_there:
        console.say(f"{output}: exported before from the same models, test sets and versions")
        return output / REPORT, True
    shutil.rmtree(output, ignore_errors=True)  # all of it is computed again from the cells
    found = compare_on_chips(systems, config, data_dir, output, console, results)
    report = write_chip_report(found, systems, config, output, command)
    exact = all(a.exact for v in found.verifications.values() for a in v.agreements)
    if exact:  # what differs is looked at again
        finished.keep()
    return report, exact


def _on_chip(system: System) -> ChipSystem:
    """Returns a sweep's system as the comparison on chips describes it, under the sweep's name."""
    described = describe(policy_by_name(system.policy), system.stage == AWARE)
    return dataclasses.replace(described, name=system.name)
