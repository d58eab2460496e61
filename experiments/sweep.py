r"""Precision policies over float models: calibrate, train through the chip, evaluate, compare.

The paper's grid of an experiment, over three seeds; its float models are trained first:

python -m experiments.sweep --config=experiments/configs/prompts.py --workdir=workdir/grid

Of existing float models:

python -m experiments.sweep --models=A/models/float,B/models/float,C/models/float

The same, but trained and tested on the data of a config, by its stages:

python -m experiments.sweep --models=data/pretrained/assistant \
    --config=experiments/configs/on_chip.py

Two policies at a time, each in a process of its own on a core:

python -m experiments.sweep --models=A/models/float --jobs=2

Every combination of some units and widths of the cell state:

python -m experiments.sweep --models=A/models/float --aware_steps=0 \
    --policies='generic_nna{gate.unit=[table256,plan,hard], cell.bits=[16,12,8]}'

One float model, trained through each chip with three seeds:

python -m experiments.sweep --models=data/pretrained/assistant --chip_seeds=0,1,2 \
    --config=experiments/configs/assistant.py:chip --policies=ethos_u_8x8_16_w4,generic_nna_crude

What each part of a policy costs by itself, calibrated:

python -m experiments.sweep --models=A/models/float --ablate=ethos_u_8x8_16_w4 --aware_steps=0

What precision a chip needs, one field after the other:

python -m experiments.sweep --models=A/models/float --map=generic_nna_crude --aware_steps=400

On the nodes of a Ray cluster, each policy with 4 cores and one accelerator; ``WORKDIR`` and the
corpora are folders that all nodes see:

python -m experiments.sweep --models=A/models/float --engine=ray --ray_address=auto \
    --ray_cpus=4 --ray_gpus=1

The paper's experiment on one chip, to the compiled graphs (`make demo`):

python -m experiments.sweep --models=data/pretrained/assistant \
    --config=experiments/configs/on_chip.py --policies=w8a8,ethos_u_8x8_16 --export=u55-128

``WORKDIR/model_N/POLICY/models``, N counting models and seeds, are model directories, to evaluate,
transcribe or export. The same command goes on where it was interrupted; policies whose results are
there are not computed again, nor is an export of the same models, test sets and versions.
"""

import dataclasses
import itertools
import pathlib
import shlex
import shutil
import sys
from collections.abc import Sequence

from absl import flags

from experiments import next_steps
from experiments.engine_flags import define_engine
from experiments.flags import (
    DATA_DIR,
    define_config,
    experiment_config,
    numbers,
    output_folder,
    run,
    set_up_jax,
)
from rnnt_qat.decoding.beam import BeamConfig
from rnnt_qat.evaluation.report import by_test_set
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.experiment.recognizer import Recognizer, require_distinct
from rnnt_qat.experiment.runner import Experiment
from rnnt_qat.export.freeze import FreezeError
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.progress import Progress
from rnnt_qat.infra.text_table import as_text
from rnnt_qat.latency.systems import describe
from rnnt_qat.latency.targets import TARGETS, NpuTarget
from rnnt_qat.quant.ablation import ablations
from rnnt_qat.quant.grammar import split_policies
from rnnt_qat.quant.policies import policy_by_name, policy_choices
from rnnt_qat.report.page import load_and_write
from rnnt_qat.report.stored_run import save_curves
from rnnt_qat.studies.cells import Cell, cells_of_seeds, results_of
from rnnt_qat.studies.comparison import name_with_beam, write_comparison
from rnnt_qat.studies.grid import NOTES, Row, grid_rows, markdown_grid, pool, write_csv
from rnnt_qat.studies.sweep import FLOAT, SweepConfig, System, require_one_config
from rnnt_qat.training.signals import StoppedBySignal

_TIMED_REPEATS = 3
"""Decodes of a batch of each shape that measure a search's real-time factor (``--beam``)."""

_RECORDS = ("*/metrics.jsonl", "*/*/metrics.jsonl")
"""Records of the training runs of a sweep, below its working directory."""

_CONFIG = define_config()
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Of the config's float models.")
_MODELS = flags.DEFINE_list(
    "models", None, "Existing float models, all of one config; with --config, by its recipe."
)
_CHIP_SEEDS = flags.DEFINE_list(
    "chip_seeds",
    None,
    "Calibrate and train each float model through each policy once for each of these seeds, and "
    "pool their errors; default: the config's seed alone.",
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Default: `sweep` beside the first's `models`.")
_POLICIES = flags.DEFINE_string(
    "policies",
    None,
    "Policies (README has the grammar) with commas between them; one with choices, e.g. "
    "'generic_nna{gate.unit=[plan,hard], cell.bits=[16,8]}', stands for all their combinations. "
    f"Default: {','.join(SweepConfig.policies)}.",
)
_ABLATE = flags.DEFINE_string(
    "ablate", None, "In place of --policies: this policy, and each of its parts alone."
)
_MAP = flags.DEFINE_string(
    "map",
    None,
    "In place of --policies: this chip, and it with one field at a time degraded.",
)
_AWARE_STEPS = flags.DEFINE_integer(
    "aware_steps",
    None,
    "Accelerator-aware training steps; 0: calibration alone; default: the model's config.",
    lower_bound=0,
)
_ENGINE = define_engine()
_BEAM = flags.DEFINE_integer(
    "beam",
    0,
    "Measure every system by a beam search of this width as well, with the real-time factors of "
    "both searches. 0: by the models' own search alone.",
    lower_bound=0,
)
_EXPORT = flags.DEFINE_list(
    "export",
    None,
    "Ethos-U targets, e.g. u55-128: also freeze the first model's systems, replay the trained ones "
    "through the runtimes, compile all, and put errors, bytes and latency into WORKDIR/chip.",
)


def main() -> int:
    """Runs the sweep, compares the systems on the first model's test sets, and exports them.

    Returns:
      0; 1 if a replay differs in a token or an integer; the signal's code after an interruption.
    """
    workdir, data_dir, targets = _workdir(), pathlib.Path(DATA_DIR.value), _targets()
    if targets:  # before hours of training: it needs the extra `export`, which others do not
        from rnnt_qat.studies.chip_sweep import deploy_sweep
    config, seeds = SweepConfig(_policies(), _AWARE_STEPS.value), _chip_seeds()
    set_up_jax()
    console, beam_runs = Console(), []
    first_by_beam: list[EvaluationResult] = []
    engine = _ENGINE(workdir / "logs")  # before float models are trained: it may refuse its flags
    output_folder(_WORKDIR, workdir)  # before minutes of decoding, too
    try:
        models = [pathlib.Path(m) for m in _MODELS.value or _trained(workdir, data_dir, console)]
        require_distinct(models)
        loaded = {str(model): Recognizer.load(model) for model in models}
        require_one_config(loaded)
        base = next(iter(loaded.values()))
        given = _MODELS.value is not None and _CONFIG.value is not None
        asked = experiment_config(_CONFIG) if given else None
        recipe = asked or base.config
        splits, evaluation = recipe.data.test, recipe.evaluation
        if _BEAM.value:
            evaluation = dataclasses.replace(evaluation, timed_repeats=_TIMED_REPEATS)
        template = Cell(
            models[0],
            None,
            config.aware_steps,
            tuple(splits),
            evaluation,
            data_dir.absolute(),
            workdir.absolute(),
            asked,
        )
        cells = cells_of_seeds(template, models, seeds, config.policies, base.config)
        engine.run(list(dict.fromkeys(itertools.chain(*cells))), console)
        measured = [[m for cell in of_model for m in cell.measurements()] for of_model in cells]
        first, runs = measured[0], [results_of(of_model) for of_model in measured]
        systems = [each.system for each in measured[-1]]
        if _BEAM.value:  # of the models that the cells have trained, so only now
            beam = dataclasses.replace(evaluation, search=BeamConfig(_BEAM.value))
            into = f"results_beam_{_BEAM.value}"
            again = [
                [dataclasses.replace(cell, evaluation=beam, into=into) for cell in of_model]
                for of_model in cells
            ]
            engine.run(list(dict.fromkeys(itertools.chain(*again))), console)
            beam_runs = [
                results_of([m for cell in of_model for m in cell.measurements()])
                for of_model in again
            ]
            first_by_beam = _named_by_beam(beam_runs[0])
    except StoppedBySignal as stopped:
        console.say(f"{stopped}; the same command goes on from there")
        return stopped.exit_code
    pooled = [*pool(runs), *_named_by_beam(pool(beam_runs))]
    with Progress("comparing the results", console):
        report = write_comparison(workdir / "report", pooled, data_dir, base)
    tables = _tables(runs, systems)
    write_csv(report.with_name("grid.csv"), [row for rows in tables for row in rows])
    sections = [f"## {rows[0]['test_set']}\n\n{markdown_grid(rows)}" for rows in tables]
    if beam_runs:
        tables_of_beam, title = _tables(beam_runs, systems), f"beam of {_BEAM.value}"
        named = report.with_name(f"grid_beam_{_BEAM.value}.csv")
        write_csv(named, [row for rows in tables_of_beam for row in rows])
        sections += [
            f"## {rows[0]['test_set']}, {title}\n\n{markdown_grid(rows)}" for rows in tables_of_beam
        ]
    grid = report.with_name("grid.md")
    grid.write_text("\n\n".join(["# Grid", *sections, NOTES]) + "\n")
    console.say(f"wrote {grid} and {report}")
    if _MAP.value is not None:
        from rnnt_qat.studies.precision_map import write_map  # slow import, rarely needed

        page = write_map(report.parent, _MAP.value, _by_chunk(tables), systems)
        console.say(f"wrote {page}")
    records = [path for pattern in _RECORDS for path in sorted(workdir.glob(pattern))]
    save_curves(report.parent, {str(p.parent.relative_to(workdir)): p.parent for p in records})
    if not targets:
        for rows in tables if _MAP.value is None else ():  # a map has its own, of many rows
            console.say(f"\n{rows[0]['test_set']}\n{as_text(markdown_grid(rows))}")
        console.say(f"wrote {_page(report.parent, data_dir, console)}")
        here = workdir.absolute()
        made = {
            workdir / cell.folder.parent.relative_to(here): cell.policy
            for cell in cells[0]
            if cell.policy
        }
        console.say(next_steps.from_sweep(models[0], made, workdir))
        return 0
    output = workdir / "chip"
    command = f"python -m experiments.sweep {shlex.join(sys.argv[1:])}"
    chip_report, exact = deploy_sweep(
        first,
        models[0],
        workdir / "model_0",
        splits,
        targets,
        data_dir,
        output,
        console,
        command,
        first_by_beam,
    )
    console.say(as_text(chip_report.read_text("utf-8").split("\n\n")[2]))
    shutil.copy(chip_report.with_name("latency.csv"), report.parent)
    console.say(f"wrote {chip_report} and {_page(report.parent, data_dir, console)}")
    if exact and (played := next_steps.from_exported(output)) is not None:
        console.say(played)
    return int(not exact)


def _named_by_beam(results: Sequence[EvaluationResult]) -> list[EvaluationResult]:
    """Returns results of the beam search of ``--beam`` under names that say so."""
    return [
        dataclasses.replace(result, system=name_with_beam(result.system, _BEAM.value))
        for result in results
    ]


def _page(folder: pathlib.Path, data_dir: pathlib.Path, console: Console) -> pathlib.Path:
    return load_and_write([folder], folder / "report.html", data_dir, console)


def _targets() -> list[NpuTarget]:
    """Returns the targets of ``--export``.

    Raises:
      ValidationError: if one is unknown, or no policy could run on it.
    """
    known = {target.name: target for target in TARGETS}
    if unknown := set(_EXPORT.value or ()) - set(known):
        raise flags.ValidationError(
            f"--export: {', '.join(sorted(unknown))} is none of {', '.join(known)}"
        )
    targets = [known[name] for name in _EXPORT.value or ()]
    for line in _policies() if targets else ():
        try:
            describe(policy_by_name(line), trained=True)
        except FreezeError as error:
            raise flags.ValidationError(f"--export with --policies={line}: {error}") from None
    return targets


def _tables(
    runs: Sequence[Sequence[EvaluationResult]], systems: Sequence[System]
) -> list[list[Row]]:
    """Returns the rows of each test set."""
    groups = zip(*(by_test_set(r).values() for r in runs), strict=True)
    return [grid_rows(group, systems) for group in groups]


def _by_chunk(tables: Sequence[Sequence[Row]]) -> dict[str, list[Row]]:
    """Groups rows by test set and chunk size."""
    found: dict[str, list[Row]] = {}
    for row in (row for rows in tables for row in rows):
        chunk = f"{row['chunk_ms']:g} ms" if row["chunk_ms"] else "whole utterances"
        found.setdefault(f"{row['test_set']}, {chunk}", []).append(row)
    return found


def _workdir() -> pathlib.Path:
    """Returns the folder of the experiments and the report.

    Raises:
      ValidationError: if the flags do not determine both the folder and the models to sweep.
    """
    if _MODELS.value is None and _CONFIG.value is None:
        raise flags.ValidationError("give --config or --models, or both")
    if _WORKDIR.value:
        return pathlib.Path(_WORKDIR.value)
    if _MODELS.value is None:
        raise flags.ValidationError("give --workdir, which takes the models of --config")
    here, beside = pathlib.Path.cwd(), pathlib.Path(_MODELS.value[0]).absolute().parents[1]
    beside = beside.relative_to(here) if beside.is_relative_to(here) else beside
    return beside / "sweep"


def _trained(workdir: pathlib.Path, data_dir: pathlib.Path, console: Console) -> list[pathlib.Path]:
    """Returns the directories of the config's float models, one per seed; trains missing ones."""
    models = []
    for seed in numbers(_SEEDS, int, 0):
        config = dataclasses.replace(experiment_config(_CONFIG), seed=seed)
        directory = workdir / f"seed_{seed}"
        model = directory / "models" / FLOAT
        if not (model / "recognizer.json").exists():  # written last, so it marks completion
            console.say(f"seed {seed}")
            Experiment(config, data_dir, directory, console).train(last_stage=FLOAT)
        models.append(model)
    return models


def _chip_seeds() -> tuple[int, ...] | None:
    """Returns the seeds of ``--chip_seeds``; None for that of the config.

    Raises:
      ValidationError: if they are no seeds, or one would be counted twice.
    """
    if _CHIP_SEEDS.value is None:
        return None
    seeds = numbers(_CHIP_SEEDS, int, 0)
    if len(set(seeds)) < len(seeds):
        raise flags.ValidationError(
            f"--chip_seeds={','.join(_CHIP_SEEDS.value)}: name each seed once"
        )
    return seeds


def _policies() -> tuple[str, ...]:
    """Returns the policies given by the flags.

    Raises:
      ValidationError: if a policy is invalid.
    """
    if sum(flag.value is not None for flag in (_ABLATE, _POLICIES, _MAP)) > 1:
        raise flags.ValidationError("give --policies, --ablate or --map, not two of them")
    try:
        if _MAP.value is not None:
            from rnnt_qat.studies.precision_map import policies  # slow import, rarely needed

            return policies(_MAP.value)
        if _ABLATE.value is None:
            lines = split_policies(_POLICIES.value or ",".join(SweepConfig.policies))
            found = [str(policy) for line in lines for policy in policy_choices(line)]
            return tuple(dict.fromkeys(found))
        policy_by_name(_ABLATE.value)
    except ValueError as error:
        raise flags.ValidationError(str(error)) from None
    whole, plus, changes = _ABLATE.value.partition("+")
    names = (whole, *(policy.name for policy in ablations(policy_by_name(whole))))
    return tuple(name for name in (f"{name}{plus}{changes}" for name in names) if _is_policy(name))


def _is_policy(name: str) -> bool:
    """Returns whether a name is a valid policy.

    It is not if a change for layers on a chip is applied to a part without any.
    """
    try:
        policy_by_name(name)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    run(main)
