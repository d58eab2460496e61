"""Trains within a time: measures how fast steps are, sets their number, ends and evaluates in time.

python -m experiments.train_within --seconds=520 --config=experiments/configs/assistant.py \
    --variants=gpu_short,gpu --shares=1,6 --workdir=workdir/gpu

Each variant runs one stage and starts from the model of the one before. Its part of the time is its
number in ``--shares``. Before it begins, some seconds of its own steps are timed, so that its
learning rate falls over the steps that fit; a stage that is late all the same is ended. Prints and
writes ``WORKDIR/table.md``: word error rates on the validation sets, and on the test sets that have
audio. After a kill the same command goes on: finished trainings are kept, the number of steps of
the interrupted one stays.
"""

import dataclasses
import json
import pathlib
import time
from collections.abc import Iterable

from absl import flags

from experiments import next_steps
from experiments.flags import (
    DATA_DIR,
    define_variants,
    numbers,
    run,
    set_up_jax,
    variants_of,
)
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.experiment.config import DataConfig, ExperimentConfig
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.experiment.runner import Experiment
from rnnt_qat.experiment.test_sets import decode_test_sets
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.durable_files import write_text
from rnnt_qat.input_pipeline.cache import Cache
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.training.plan import with_steps
from rnnt_qat.training.signals import StoppedBySignal
from rnnt_qat.training.stages import TrainingStage

_CONFIG, _VARIANTS = define_variants()
_WORKDIR = flags.DEFINE_string("workdir", None, "Takes a folder per variant.", required=True)
_SECONDS = flags.DEFINE_float(
    "seconds", 540.0, "Time for everything, from the start of this process.", lower_bound=1.0
)
_SHARES = flags.DEFINE_list("shares", None, "Shares of the time, by variant; equal by default.")
_EVALUATION = flags.DEFINE_float(
    "evaluation_seconds", 90.0, "Time kept for the evaluation at the end.", lower_bound=0.0
)
_REHEARSAL = flags.DEFINE_float(
    "rehearsal_seconds", 6.0, "Time for which steps are timed, by variant.", lower_bound=0.0
)

_PLAN = "plan.json"


def main() -> int:
    """Trains all configs and evaluates the last model; returns the exit code."""
    began = time.monotonic()
    configs = variants_of(_CONFIG, _VARIANTS)
    shares = numbers(_SHARES, float, 0.0) if _SHARES.value else (1.0,) * len(configs)
    if len(shares) != len(configs) or not all(shares):
        raise flags.ValidationError(
            f"--shares={','.join(_SHARES.value or [])}: give a number above 0 for each of "
            f"{len(configs)} variants"
        )
    for config in configs:
        _timed_stage(config)
    set_up_jax()
    workdir, console = pathlib.Path(_WORKDIR.value), Console()
    end_s = began + _SECONDS.value - _EVALUATION.value
    cache: tuple[DataConfig, Cache] | None = None
    model: pathlib.Path | None = None
    for number, config in enumerate(configs):
        if model is not None:
            config = dataclasses.replace(config, initialize_from=str(model))
        folder = workdir / f"{number}_{_VARIANTS.value[number]}"
        model = folder / "models" / _timed_stage(config).name
        if model.exists():
            console.say(f"{model} is there already")
            continue
        if cache is None or cache[0] != config.data:
            cache = config.data, Cache(config.pipeline.cache_bytes)
        now = time.monotonic()
        share = shares[number] / sum(shares[number:])
        seconds = max(0.0, end_s - now) * share
        experiment = Experiment(
            config, pathlib.Path(DATA_DIR.value), folder, console, validate=False, cache=cache[1]
        )
        try:
            _train(experiment, now + seconds)
        except StoppedBySignal as stopped:
            console.say(f"{stopped}; the same command goes on from there")
            return stopped.exit_code
    assert model is not None
    _evaluate(model, workdir, console)
    console.say(f"{time.monotonic() - began:.0f} s of {_SECONDS.value:g}; the model: {model}")
    console.say(next_steps.evaluation(str(model.parents[1])))
    return 0


def _timed_stage(config: ExperimentConfig) -> TrainingStage:
    """Returns the one stage that a config runs.

    Raises:
      ConfigError: if it runs another number of stages, or a calibration.
    """
    stages = with_steps(config.stages)
    if len(stages) != 1 or not isinstance(stages[0], TrainingStage):
        named = ", ".join(stage.name for stage in stages) or "none"
        raise ConfigError(f"--variants: give those that run one training stage, not {named}")
    return stages[0]


def _train(experiment: Experiment, end_s: float) -> None:
    """Trains for the steps that fit until a time of the monotonic clock, in seconds."""
    config, plan = experiment.config, experiment.workdir / _PLAN
    stage = _timed_stage(config)
    if plan.exists():
        steps = int(json.loads(plan.read_text())["steps"])
    else:
        rehearsal = experiment.rehearse(_REHEARSAL.value)
        seconds = end_s - time.monotonic()
        steps = rehearsal.steps_within(seconds)
        plan.parent.mkdir(parents=True, exist_ok=True)
        chosen = {"steps": steps, "seconds": seconds, "rehearsal": dataclasses.asdict(rehearsal)}
        write_text(plan, json.dumps(chosen) + "\n")
        experiment.console.say(
            f"{stage.name}: {rehearsal.seconds_per_step:.3f} s a step, "
            f"{rehearsal.shapes} batch shapes compiled in {rehearsal.compile_seconds:.0f} s; "
            f"{steps} steps in the {seconds:.0f} s that are left"
        )
    stages = tuple(
        dataclasses.replace(stage, steps=steps) if s == stage else s for s in config.stages
    )
    experiment.planned(stages).train(stage_seconds=max(1.0, end_s - time.monotonic()))


def _evaluate(model: pathlib.Path, workdir: pathlib.Path, console: Console) -> None:
    """Decodes the validation sets, and the test sets that have audio; writes the table."""
    recognizer, data_dir = Recognizer.load(model), pathlib.Path(DATA_DIR.value)
    data = recognizer.config.data
    splits = [
        split
        for split in dict.fromkeys((*data.validation, *data.test))
        if open_corpus(data_dir, split.corpus, split.split).has_audio
    ]
    results = decode_test_sets(
        recognizer, splits, recognizer.config.evaluation, data_dir, model.parent.name, console
    )
    table = "\n".join(_rows(results)) + "\n"
    write_text(workdir / "table.md", table)
    console.say(table)
    if left_out := [s.name for s in data.test if s not in splits]:
        console.say(f"without audio here, evaluate them at home: {', '.join(left_out)}")


def _rows(results: Iterable[EvaluationResult]) -> list[str]:
    """Returns the lines of a Markdown table of word error rates."""
    lines = ["| set | words | WER | deletions | chunk |", "|---|---:|---|---:|---:|"]
    for result in results:
        words, wer = result.words, result.wer
        chunk = "whole" if result.chunk_ms is None else f"{result.chunk_ms:g} ms"
        lines.append(
            f"| {result.test_set} | {words.reference_length} | {100 * wer.value:.1f} % "
            f"[{100 * wer.low:.1f}, {100 * wer.high:.1f}] | "
            f"{100 * words.deletions / words.reference_length:.1f} % | {chunk} |"
        )
    return lines


if __name__ == "__main__":
    run(main)
