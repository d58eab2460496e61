"""Adapts an exported integer model by forward passes alone, on the chip's grid.

What bit errors in the weight memory cost, and how much of it biases and scales take back:

python -m experiments.adapt --artefact=data/pretrained/digits_w8 --bit_errors=1e-3 \
    --speech=speechocean762:train_digits --test=speechocean762:test_digits --output=workdir/healed

A new speaker from a minute of speech, the speaker's other utterances being the test:

python -m experiments.adapt --artefact=data/pretrained/assistant_w8 --speaker=0103 \
    --speech=speechocean762:test --output=workdir/speaker

An evolution strategy draws populations of changes, and one program evaluates them. OUTPUT/artefact
is a legal artefact like any other. The same command goes on with a search that was interrupted.
"""

import dataclasses
import json
import pathlib
import shutil
from typing import Any

from absl import flags

from experiments import next_steps
from experiments.flags import DATA_DIR, output_folder, run, set_up_jax
from rnnt_qat.adaptation.bit_errors import flip_bits
from rnnt_qat.adaptation.evolution import STATE, EvolutionConfig, evolve, mean_loss
from rnnt_qat.adaptation.frozen_recognizer import FrozenRecognizer
from rnnt_qat.adaptation.grid import BIASES, LAST_LAYER, SCALES, Grid
from rnnt_qat.adaptation.objectives import OBJECTIVES
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.experiment.config import Split
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.durable_files import write_text
from rnnt_qat.infra.progress import Progress
from rnnt_qat.input_pipeline.chosen import Chosen, divided
from rnnt_qat.input_pipeline.corpus import Corpus, open_corpus
from rnnt_qat.metrics.bootstrap import paired_difference
from rnnt_qat.missing_packages import require_package

_GROUPS = {"biases": BIASES, "scales": SCALES, "last_layer": LAST_LAYER}

_ARTEFACT = flags.DEFINE_string("artefact", None, "Folder of an artefact.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Takes the search and its artefact.", required=True)
_SPEECH = flags.DEFINE_string("speech", None, "CORPUS:SPLIT to adapt to.", required=True)
_TEST = flags.DEFINE_string(
    "test", None, "CORPUS:SPLIT to measure on; by default the rest of --speech."
)
_SPEAKER = flags.DEFINE_string("speaker", "", "Speaker of --speech; by default all.")
_SECONDS = flags.DEFINE_float("seconds", 60.0, "Speech to adapt to.", lower_bound=0.1)
_OBJECTIVE = flags.DEFINE_enum(
    "objective", "labels", list(OBJECTIVES), "What is minimised: labels needs transcripts."
)
_CHANGE = flags.DEFINE_list(
    "change",
    ["biases"],
    f"What may change: {', '.join(_GROUPS)}, or patterns of variables such as params/joint/bias.",
)
_RANK = flags.DEFINE_integer("rank", 1, "Rank of the change of a kernel.", lower_bound=1)
_BIT_ERRORS = flags.DEFINE_float(
    "bit_errors", 0.0, "Probability that a bit of the weights is flipped first.", 0.0, 1.0
)
_GENERATIONS = flags.DEFINE_integer("generations", 30, "Generations.", lower_bound=1)
_POPULATION = flags.DEFINE_integer("population", 16, "Candidates of each.", lower_bound=5)
_DEVIATION = flags.DEFINE_float(
    "deviation", 0.05, "Of the first candidates, of the variables' RMS.", lower_bound=1e-6
)
_SEED = flags.DEFINE_integer("seed", 0, "Of bit errors, of the choice of speech, of the search.")


def main() -> None:
    """Adapts, measures and writes the artefact and ``result.json``."""
    require_package("evosax")
    output, console = pathlib.Path(_OUTPUT.value), Console()
    set_up_jax()
    output_folder(_OUTPUT, output)
    given, made = pathlib.Path(_ARTEFACT.value), output / "artefact"
    if made.exists() and (made.resolve() == given.resolve() or not (output / STATE).exists()):
        raise flags.ValidationError(
            f"--output={output}: its folder `artefact` was not made by an adaptation and would be "
            "replaced; choose another"
        )
    whole = FrozenRecognizer.load(given)
    speech, test = _speech(whole)
    damaged = whole
    if _BIT_ERRORS.value:
        damaged = whole.with_integers(
            flip_bits(whole.artefact.model, _BIT_ERRORS.value, _SEED.value)
        )

    config = EvolutionConfig(
        _GENERATIONS.value, _POPULATION.value, _DEVIATION.value, seed=_SEED.value
    )
    patterns = [p for name in _CHANGE.value for p in _GROUPS.get(name, (name,))]
    variables = damaged.transducer.variables
    grid = Grid.of(variables, damaged.policy, patterns, _RANK.value, _SEED.value)
    console.say(f"{grid.size()} numbers, {len(speech)} utterances to adapt to, {len(test)} to test")
    with Progress("reading the speech", console, remains=False):
        batches = damaged.batches(speech)
        loss = mean_loss(OBJECTIVES[_OBJECTIVE.value], damaged.transducer, batches)
    task = f"{_OBJECTIVE.value} of {_SPEECH.value}: {' '.join(speech.ids)}"
    found = evolve(grid, loss, config, task, output, console)

    settings = {
        name: flags.FLAGS[name].value
        for name in ("speech", "speaker", "seconds", "objective", "change", "rank", "bit_errors")
    } | dataclasses.asdict(config)
    adapted = damaged.with_variables(grid.at(found.vector), {"adapted": settings})
    with Progress("writing the artefact", console, remains=False):
        fresh = output / "artefact.new"
        shutil.rmtree(fresh, ignore_errors=True)  # of a run that was killed
        adapted.save(fresh)
        shutil.rmtree(made, ignore_errors=True)  # of fewer generations
        fresh.rename(made)
    with Progress("measuring", console):
        systems = {"unchanged": whole, "damaged": damaged, "adapted": adapted}
        if damaged is whole:
            del systems["damaged"]
        all_variables = [each.transducer.variables for each in systems.values()]
        results = dict(zip(systems, whole.evaluate(test, "test", all_variables), strict=True))
    before = "damaged" if "damaged" in results else "unchanged"
    with Progress("intervals of the error rates", console, remains=False):
        change = paired_difference(
            [u.words for u in results[before].utterances],
            [u.words for u in results["adapted"].utterances],
        ).difference
        intervals = {name: _interval(result) for name, result in results.items()}
    report: dict[str, Any] = {
        **settings,
        "numbers": grid.size(),
        "changed": grid.changed(found.vector),
        "losses": list(found.losses),
        "wer": intervals,
        "adapted - before": [change.value, change.low, change.high],
        "errors": {
            name: [[u.words.errors, u.words.reference_length] for u in result.utterances]
            for name, result in results.items()
        },
    }
    write_text(output / "result.json", json.dumps(report, indent=1) + "\n")
    console.say(f"loss {found.losses[0]:.4f} -> {found.best:.4f}")
    for name, (value, low, high) in report["wer"].items():
        console.say(f"{name}: WER {value:.1%} [{low:.1%}, {high:.1%}]")
    console.say(
        f"adapted - {before}: {100 * change.value:+.1f} "
        f"[{100 * change.low:+.1f}, {100 * change.high:+.1f}] points; wrote {output}/artefact"
    )
    console.say(next_steps.playing(made))


def _speech(recognizer: FrozenRecognizer) -> tuple[Chosen, Chosen | Corpus]:
    """Returns the utterances to adapt to and those to test."""
    rate, data_dir = recognizer.frontend.config.log_mel.sample_rate_hz, DATA_DIR.value
    split = Split.parse(_SPEECH.value)
    corpus = open_corpus(data_dir, split.corpus, split.split, rate)
    try:
        speech, rest = divided(corpus, _SECONDS.value, _SPEAKER.value, _SEED.value)
    except ValueError as error:
        raise flags.ValidationError(f"--speech={_SPEECH.value}: {error}") from error
    if _TEST.value:
        other = Split.parse(_TEST.value)
        return speech, open_corpus(data_dir, other.corpus, other.split, rate)
    if not len(rest):
        raise flags.ValidationError(
            f"--seconds={_SECONDS.value:g} leaves no utterance of --speech to test: give fewer, or "
            "--test"
        )
    return speech, rest


def _interval(result: EvaluationResult) -> list[float]:
    wer = result.wer
    return [wer.value, wer.low, wer.high]


if __name__ == "__main__":
    run(main)
