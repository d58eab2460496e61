"""Stream-decodes test sets with trained models and writes a report that compares them.

python -m experiments.evaluate --workdir=workdir/prompts
python -m experiments.evaluate --models=a/models/float,b/models/aware --test=asterisk_prompts:test
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
from absl import flags

from experiments import next_steps
from experiments.flags import (
    DATA_DIR,
    may_be_remote,
    output_folder,
    run,
    set_up_jax,
    test_sets,
)
from rnnt_qat.decoding.beam import BeamConfig
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.recognizer import Recognizer, find_models, name_models
from rnnt_qat.experiment.remote_paths import place_of, readable_folder, writable_folder
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.processes import end_together
from rnnt_qat.infra.progress import Progress
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.report.board import write_examples
from rnnt_qat.report.page import load_and_write
from rnnt_qat.report.stored_run import save_curves
from rnnt_qat.studies.comparison import (
    compare_recognizers,
    name_with_beam,
    write_comparison,
)
from rnnt_qat.studies.diagnosis import diagnose, write_diagnosis

_WORKDIR = flags.DEFINE_string("workdir", None, "A training run: its models, its curves.")
_MODELS = flags.DEFINE_list("models", None, "Model directories instead; the first is the baseline.")
_TEST = flags.DEFINE_list("test", None, "CORPUS:SPLIT, ...; by default the config's test sets.")
_CHUNK_MS = flags.DEFINE_list("chunk_ms", None, "Chunks of audio; 0 is whole utterances.")
_BEAM = flags.DEFINE_integer(
    "beam_size",
    4,
    "Beam search of this width beside the models' own search; 0: their own alone.",
    lower_bound=0,
)
_TIMED = flags.DEFINE_integer(
    "timed_repeats",
    3,
    "Repeats that measure the real-time factor; 0 measures nothing.",
    lower_bound=0,
)
_DIAGNOSE = flags.DEFINE_integer(
    "diagnose",
    0,
    "Batches of the first test set whose arithmetic is diagnosed; 0: none.",
    lower_bound=0,
)
_OUTPUT = flags.DEFINE_string("output", None, "Takes the report; WORKDIR/report by default.")

may_be_remote(_WORKDIR, _MODELS, _OUTPUT)


def main() -> None:
    """Decodes the test sets, compares the models and writes the report."""
    chunk_ms = _chunk_ms()
    workdir = readable_folder(_WORKDIR.value) if _WORKDIR.value else None
    if _MODELS.value:
        named = name_models(_MODELS.value)
        directories = {name: readable_folder(path) for name, path in named.items()}
    elif workdir:
        directories = {d.name: d for d in find_models(workdir)}
    else:
        raise flags.ValidationError("give --workdir or --models")
    set_up_jax(several=True)
    with Progress("loading the models", Console(enabled=not jax.process_index()), remains=False):
        recognizers = {name: Recognizer.load(d) for name, d in directories.items()}
    first = next(iter(recognizers.values()))

    evaluation = dataclasses.replace(first.config.evaluation, timed_repeats=_TIMED.value)
    if chunk_ms:
        evaluation = dataclasses.replace(evaluation, chunk_ms=chunk_ms)
    for recognizer in recognizers.values():
        frame_ms = recognizer.config.frontend.frame_ms
        evaluation.require_whole_frames(frame_ms * recognizer.config.model.encoder.time_reduction)
    splits = test_sets(_TEST, first.config.data.test)
    if jax.process_index():  # every process has all results, so only one writes them
        _measure(recognizers, splits, evaluation)
    else:
        path = _OUTPUT.value or f"{_WORKDIR.value or '.'}/report"
        with writable_folder(path, Console()) as output:
            output_folder(_OUTPUT, output)
            results = _measure(recognizers, splits, evaluation)
            _write(output, path, results, recognizers, splits, workdir)
        Console().say(next_steps.from_measured(*_measured_run(recognizers)))
    end_together()


def _measure(
    recognizers: dict[str, Recognizer],
    splits: Sequence[Split],
    evaluation: EvaluationConfig,
) -> list[EvaluationResult]:
    """Decodes the test sets by the models' own search, and by a beam search beside it."""
    data_dir, console = pathlib.Path(DATA_DIR.value), Console()
    results = compare_recognizers(recognizers, splits, evaluation, data_dir, console)
    if _BEAM.value:
        search = BeamConfig(beam_size=_BEAM.value)
        beam = dataclasses.replace(evaluation, search=search)
        named = {name_with_beam(name, _BEAM.value): r for name, r in recognizers.items()}
        results += compare_recognizers(named, splits, beam, data_dir, console)
    return results


def _write(
    output: pathlib.Path,
    path: str,
    results: list[EvaluationResult],
    recognizers: dict[str, Recognizer],
    splits: Sequence[Split],
    workdir: pathlib.Path | None,
) -> None:
    """Writes the reports to a folder, which is that of ``path`` or will be uploaded there."""
    data_dir, console = pathlib.Path(DATA_DIR.value), Console()
    first = next(iter(recognizers.values()))
    metrics = workdir / "metrics.jsonl" if workdir else None
    links = {}
    if _DIAGNOSE.value:
        for name, recognizer in recognizers.items():
            if recognizer.policy == FLOAT32:
                continue  # it has no formats
            with Progress(f"diagnosing {name}", console, unit="batches") as progress:
                rows = diagnose(recognizer, splits[0], data_dir, _DIAGNOSE.value, progress.at)
            picture = write_diagnosis(output, name, rows)
            links[f"What the arithmetic of {name} does to its values"] = f"{picture.stem}.md"
            console.say(f"wrote {place_of(picture, output, path)}")
    with Progress("comparing the results", console):
        report = write_comparison(output, results, data_dir, first, metrics, recognizers, links)
    console.say(f"wrote {place_of(report, output, path)}")
    if workdir:
        save_curves(output, {workdir.name: workdir})
    step = max(recognizer.origin.get("step", 0) for recognizer in recognizers.values())
    with Progress("writing TensorBoard's examples", console):
        board = write_examples(output, results, data_dir, step)
    page = load_and_write([output], output / "report.html", data_dir, console)
    console.say(f"wrote {place_of(page, output, path)} and {place_of(board, output, path)}")


def _measured_run(recognizers: dict[str, Recognizer]) -> tuple[dict[str, PrecisionPolicy], str]:
    """Returns the policies of the models by their directory or URL, and what run they are of."""
    if _MODELS.value:
        places = name_models(_MODELS.value)
        run_name = next_steps.run_of(_MODELS.value[0])
    else:
        run_name = (_WORKDIR.value or "").rstrip("/")
        places = {name: f"{run_name}/models/{name}" for name in recognizers}
    return {places[name]: r.policy for name, r in recognizers.items()}, run_name


def _chunk_ms() -> tuple[float, ...]:
    """Returns the chunk sizes in milliseconds; empty if the flag is not given."""
    if not _CHUNK_MS.value:
        return ()
    try:
        sizes = tuple(float(ms) for ms in _CHUNK_MS.value)
    except ValueError:
        sizes = ()
    if not sizes or not all(0 <= ms < float("inf") for ms in sizes):
        raise flags.IllegalFlagValueError(
            f"--chunk_ms={','.join(_CHUNK_MS.value)}: give milliseconds, e.g. 80,240; 0 is whole "
            "utterances"
        )
    return sizes


if __name__ == "__main__":
    run(main)
