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

On the nodes of a Ray cluster, each policy with 4 cores and one accelerator. Corpora are folders
that all nodes see, and so are models and ``WORKDIR``, unless they are in an object store:

python -m experiments.sweep --models=s3://bucket/a/models/float --workdir=s3://bucket/a/sweep \
    --engine=ray --ray_address=auto --ray_cpus=4 --ray_gpus=1

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
    may_be_remote,
    numbers,
    output_folder,
    run,
    set_up_jax,
)
from experiments.policy_flags import define_policies
from rnnt_qat.decoding.beam import BeamConfig
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.experiment.recognizer import Recognizer, require_distinct
from rnnt_qat.experiment.remote_paths import (
    OpenWorkdir,
    absolute_place,
    model_places,
    open_workdir,
    readable_folder,
)
from rnnt_qat.experiment.runner import Experiment
from rnnt_qat.export.freeze import FreezeError
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.progress import Progress
from rnnt_qat.infra.remote_store import is_remote
from rnnt_qat.infra.text_table import as_text
from rnnt_qat.latency.systems import describe
from rnnt_qat.latency.targets import TARGETS, NpuTarget
from rnnt_qat.quant.policies import policy_by_name
from rnnt_qat.report.page import load_and_write
from rnnt_qat.report.stored_run import save_curves
from rnnt_qat.studies.cells import (
    SWEEP,
    Cell,
    Measurement,
    cells_of_seeds,
    results_of,
    training_runs,
)
from rnnt_qat.studies.comparison import name_with_beam, write_comparison
from rnnt_qat.studies.engine import Engine
from rnnt_qat.studies.grid import Row, markdown_grid, pool, test_set_tables, write_grid
from rnnt_qat.studies.sweep import FLOAT, SweepConfig, require_one_config
from rnnt_qat.training.plan import with_steps
from rnnt_qat.training.signals import StoppedBySignal

_TIMED_REPEATS = 3
"""Decodes of a batch of each shape that measure a search's real-time factor (``--beam``)."""

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
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Default: `sweep` beside the first's `models`; a folder, or s3://, gs://."
)
_policies, _MAP = define_policies()
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

may_be_remote(_MODELS, _WORKDIR)


def main() -> int:
    """Runs the sweep, compares the systems on the first model's test sets, and exports them.

    Returns:
      0; 1 if a replay differs in a token or an integer; the signal's code after an interruption.
    """
    place, targets = _workdir(), _targets()
    config, seeds = SweepConfig(_policies(), _AWARE_STEPS.value), _chip_seeds()
    set_up_jax()
    console = Console()
    try:
        with open_workdir(place, console, layout=SWEEP) as workdir:
            exact, following = _swept(workdir, config, seeds, targets, console)
    except StoppedBySignal as stopped:
        console.say(f"{stopped}; the same command goes on from there")
        return stopped.exit_code
    if following is not None:
        console.say(following)
    return int(not exact)


def _swept(
    workdir: OpenWorkdir,
    config: SweepConfig,
    seeds: tuple[int, ...] | None,
    targets: Sequence[NpuTarget],
    console: Console,
) -> tuple[bool, str | None]:
    """Returns whether every replay was exact, and the line that names the next command."""
    if targets:  # before hours of training: it needs the extra `export`, which others do not
        from rnnt_qat.studies.chip_sweep import deploy_sweep
    place, data_dir = workdir.name, pathlib.Path(DATA_DIR.value)
    engine = _ENGINE(workdir.path / "logs")  # before float models are trained: may refuse its flags
    output_folder(_WORKDIR, workdir.path)  # before minutes of decoding, too
    models = _MODELS.value or _trained(place, data_dir, console)
    require_distinct([pathlib.Path(model.replace("://", "/")) for model in models])
    loaded = {model: Recognizer.load(readable_folder(model)) for model in models}
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
        absolute_place(place),
        asked,
    )
    cells = cells_of_seeds(template, models, seeds, config.policies, base.config)
    measured = _measured(engine, cells, console)
    first, runs = measured[0], [results_of(of_model) for of_model in measured]
    systems = [each.system for each in measured[-1]]
    beam_runs: list[list[EvaluationResult]] = []
    if _BEAM.value:  # of the models that the cells have trained, so only now
        beam = dataclasses.replace(evaluation, search=BeamConfig(_BEAM.value))
        into = f"results_beam_{_BEAM.value}"
        again = [
            [dataclasses.replace(cell, evaluation=beam, into=into) for cell in of_model]
            for of_model in cells
        ]
        beam_runs = [results_of(of_model) for of_model in _measured(engine, again, console)]
    pooled = [*pool(runs), *_named_by_beam(pool(beam_runs))]
    with Progress("comparing the results", console):
        report = write_comparison(workdir.path / "report", pooled, data_dir, base)
    tables = test_set_tables(runs, systems)
    by_beam = test_set_tables(beam_runs, systems)
    grid = write_grid(report.parent, tables, by_beam, _BEAM.value)
    console.say(f"wrote {_named(grid, workdir)} and {_named(report, workdir)}")
    if _MAP.value is not None:
        from rnnt_qat.studies.precision_map import write_map  # slow import, rarely needed

        page = write_map(report.parent, _MAP.value, _by_chunk(tables), systems)
        console.say(f"wrote {_named(page, workdir)}")
    save_curves(report.parent, training_runs(place))
    if not targets:
        for rows in tables if _MAP.value is None else ():  # a map has its own, of many rows
            console.say(f"\n{rows[0]['test_set']}\n{as_text(markdown_grid(rows))}")
        console.say(f"wrote {_named(_page(report.parent, data_dir, console), workdir)}")
        below = {cell.place.removeprefix(template.workdir): cell.policy for cell in cells[0]}
        made = {place + path: policy for path, policy in below.items() if policy}
        return True, next_steps.from_sweep(models[0], made, place)
    output = workdir.path / "chip"
    command = f"python -m experiments.sweep {shlex.join(sys.argv[1:])}"
    chip_report, exact = deploy_sweep(
        first,
        readable_folder(models[0]),
        readable_folder(f"{place}/model_0"),
        splits,
        targets,
        data_dir,
        output,
        console,
        command,
        _named_by_beam(beam_runs[0]) if beam_runs else [],
    )
    console.say(as_text(chip_report.read_text("utf-8").split("\n\n")[2]))
    shutil.copy(chip_report.with_name("latency.csv"), report.parent)
    page = _page(report.parent, data_dir, console)
    console.say(f"wrote {_named(chip_report, workdir)} and {_named(page, workdir)}")
    return exact, next_steps.from_exported(output, f"{place}/chip") if exact else None


def _measured(
    engine: Engine, cells: Sequence[Sequence[Cell]], console: Console
) -> list[list[Measurement]]:
    """Runs the cells of each model, each of them once, and returns what they have measured."""
    engine.run(list(dict.fromkeys(itertools.chain(*cells))), console)
    return [[m for cell in of_model for m in cell.measurements()] for of_model in cells]


def _named(path: pathlib.Path, workdir: OpenWorkdir) -> str:
    """Returns how a file of the working directory is called: by its URL, if that is remote."""
    return f"{workdir.name.rstrip('/')}/{path.relative_to(workdir.path)}"


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


def _by_chunk(tables: Sequence[Sequence[Row]]) -> dict[str, list[Row]]:
    """Groups rows by test set and chunk size."""
    found: dict[str, list[Row]] = {}
    for row in (row for rows in tables for row in rows):
        chunk = f"{row['chunk_ms']:g} ms" if row["chunk_ms"] else "whole utterances"
        found.setdefault(f"{row['test_set']}, {chunk}", []).append(row)
    return found


def _workdir() -> str:
    """Returns the folder or URL of the experiments and the report.

    Raises:
      ValidationError: if the flags do not determine both the folder and the models to sweep.
    """
    if _MODELS.value is None and _CONFIG.value is None:
        raise flags.ValidationError("give --config or --models, or both")
    if _WORKDIR.value:
        return _WORKDIR.value.rstrip("/") or "/"
    if _MODELS.value is None:
        raise flags.ValidationError("give --workdir, which takes the models of --config")
    model = _MODELS.value[0]
    if is_remote(model) and len(pathlib.PurePath(model).parts) < 4:  # scheme, bucket, models, name
        raise flags.ValidationError(f"give --workdir: {model} is the model of no run")
    run_name = absolute_place(model).rsplit("/", 2)[0]
    return f"{run_name}/sweep".removeprefix(f"{pathlib.Path.cwd()}/")


def _trained(workdir: str, data_dir: pathlib.Path, console: Console) -> list[str]:
    """Returns the places of the config's float models, one per seed; trains missing ones.

    Raises:
      ValidationError: if the config has no float stage.
    """
    names = [stage.name for stage in with_steps(experiment_config(_CONFIG).stages)]
    if FLOAT not in names:
        raise flags.ValidationError(
            f"--config: a sweep trains its stage {FLOAT!r}, and this one has "
            f"{', '.join(names) or 'none'}: train it with experiments.train, and give a float "
            "model of its as --models"
        )
    models = []
    for seed in numbers(_SEEDS, int, 0):
        config = dataclasses.replace(experiment_config(_CONFIG), seed=seed)
        place = f"{workdir}/seed_{seed}"
        model = f"{place}/models/{FLOAT}"
        if not model_places(model):
            console.say(f"seed {seed}")
            with open_workdir(place, console) as opened:
                experiment = Experiment(
                    config,
                    data_dir,
                    opened.path,
                    console,
                    workdir_name=place,
                    saved=opened.check,
                )
                experiment.train(last_stage=FLOAT)
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


if __name__ == "__main__":
    run(main)
