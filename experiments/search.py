"""Searches the weight bits of every layer: a front of error against the chip's latency.

python -m experiments.search --model=data/pretrained/digits --output=workdir/search

The error is the loss of validation labels after calibration, the cost that of the vendor's compiler
for each layer. OUTPUT has the front as a table, a plot and ``policies.txt``, a list for training:

python -m experiments.sweep --models=data/pretrained/digits --workdir=workdir/front \
    --policies="$(paste -sd, workdir/search/policies.txt)"

The same command goes on with a search that was interrupted; with more --trials it searches longer.
Other options, another model or other speech need another folder. Both may be in an object store,
s3:// or gs:// (extra: remote), where a search goes on from any machine.
"""

import dataclasses
import json
import pathlib

from absl import flags

from experiments import next_steps
from experiments.flags import (
    DATA_DIR,
    may_be_remote,
    numbers,
    output_folder,
    run,
    set_up_jax,
    test_sets,
)
from rnnt_qat.batch import AudioBatch
from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.recognizer import ModelDirectoryError, Recognizer
from rnnt_qat.experiment.remote_paths import OpenWorkdir, open_workdir, readable_folder
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.durable_files import write_text
from rnnt_qat.infra.progress import Progress
from rnnt_qat.infra.text_table import as_text
from rnnt_qat.input_pipeline.chosen import Chosen, sampled
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.input_pipeline.eval_batches import EvalBatches
from rnnt_qat.input_pipeline.mixture import Mixture
from rnnt_qat.latency.targets import TARGETS
from rnnt_qat.quant.grammar import PolicyError
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.studies.precision_candidates import (
    SEARCH,
    WIDEST,
    SearchConfig,
    front_table,
    pareto_front,
    policy_line,
)
from rnnt_qat.studies.search_model import SearchModel, calls

_MODEL = flags.DEFINE_string("model", None, "Directory of a float recognizer.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Takes the search and its front.", required=True)
_CHIP = flags.DEFINE_string("chip", "ethos_u_8x8_16", "Chip, by its policy.")
_TARGET = flags.DEFINE_enum("target", "u55-128", [t.name for t in TARGETS], "Ethos-U target.")
_BITS = flags.DEFINE_list("bits", ["2", "3", "4", "8"], "Bits of the weights to choose from.")
_CHUNKS = flags.DEFINE_list("chunks", ["1"], "Encoder frames a call to choose from.")
_TRIALS = flags.DEFINE_integer("trials", 200, "Candidates in all.", lower_bound=1)
_POPULATION = flags.DEFINE_integer("population", 24, "Candidates of a generation.", lower_bound=2)
_JOBS = flags.DEFINE_integer("jobs", 1, "Candidates evaluated at a time.", lower_bound=1)
_CALIBRATION = flags.DEFINE_list(
    "calibration", None, "CORPUS:SPLIT; by default the config's train."
)
_VALIDATION = flags.DEFINE_list("validation", None, "CORPUS:SPLIT; by default the config's.")
_SECONDS = flags.DEFINE_float("seconds", 300.0, "Speech of either, chosen at random.", 1.0)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the search.", lower_bound=0)
_CHECKED = flags.DEFINE_bool("compile_front", True, "Compile the front's recognizers whole, too.")

may_be_remote(_MODEL, _OUTPUT)


def main() -> None:
    """Searches, and writes the front."""
    console = Console()
    config = SearchConfig(
        bits=tuple(numbers(_BITS, int, 2, WIDEST)),
        chunks=tuple(numbers(_CHUNKS, int, 1)),
        trials=_TRIALS.value,
        population=_POPULATION.value,
        jobs=_JOBS.value,
        seed=_SEED.value,
    )
    _check_chip(config)
    set_up_jax()
    with open_workdir(_OUTPUT.value, console, layout=SEARCH) as opened:
        output_folder(_OUTPUT, opened.path)
        policies = _searched(config, opened, console)
    console.say(next_steps.training_the_front(_MODEL.value, _OUTPUT.value, policies))


def _searched(config: SearchConfig, opened: OpenWorkdir, console: Console) -> list[str]:
    """Searches, writes the front and returns its policies."""
    output = opened.path
    recognizer = Recognizer.load(readable_folder(_MODEL.value))
    if recognizer.policy != FLOAT32:
        raise ModelDirectoryError(
            f"--model={_MODEL.value} is of policy {recognizer.policy.name!r}: a search starts from "
            "a float32 recognizer, as WORKDIR/models/float"
        )
    # Before minutes of calibration: they need the extra `search`, which help and flags do not.
    from rnnt_qat.studies.precision_search import search
    from rnnt_qat.studies.precision_search_plot import plot_front
    from rnnt_qat.studies.search_costs import compiled_front, stored_costs

    data = recognizer.config.data
    heard = _chosen(recognizer, test_sets(_CALIBRATION, data.train))
    measured = _chosen(recognizer, test_sets(_VALIDATION, data.validation))
    with Progress("calibrating and freezing", console):
        model = SearchModel.of(recognizer, _CHIP.value, config.bits, _batches(recognizer, heard))
    validation = _batches(recognizer, measured)
    target = next(each for each in TARGETS if each.name == _TARGET.value)
    costs = stored_costs(model, config, target, output, console)
    with Progress("decoding the validation speech", console):
        counts = {chunk: calls(recognizer, validation, chunk) for chunk in config.chunks}
        loss = model.loss([recognizer.frontend.batch(batch) for batch in validation])
    task = (
        f"{target.name}, integers {model.digest()}, calibration {' '.join(heard.ids)}, "
        f"validation {' '.join(measured.ids)}"
    )
    found = search(_CHIP.value, config, costs, counts, loss, task, output, console, opened.check)

    front, table = pareto_front(found), "\n".join(front_table(found))
    write_text(output / "policies.txt", "".join(f"{c.policy}\n" for c in front))
    write_text(
        output / "candidates.json", json.dumps([dataclasses.asdict(c) for c in found], indent=1)
    )
    plot_front(found, output / "front.png")
    if _CHECKED.value:
        table += "\n\n" + compiled_front(front, model, target, counts, console)
    write_text(output / "front.md", table + "\n")
    shown = "\n\n".join(as_text(part) for part in table.split("\n\n"))
    console.say(f"{shown}\n\nwrote {opened.name}/front.md, front.png, policies.txt")
    return [each.policy for each in front]


def _check_chip(config: SearchConfig) -> None:
    """Checks that there is a policy of the chip for each number of bits.

    Raises:
      ValidationError: there is none; the message has the line.
    """
    lines = [policy_line(_CHIP.value, {"": width}) for width in config.bits]
    try:
        for line in (_CHIP.value, *lines):
            policy_by_name(line)
    except PolicyError as error:
        raise flags.ValidationError(f"--chip={_CHIP.value}: {error}") from None


def _chosen(recognizer: Recognizer, splits: tuple[Split, ...]) -> Chosen:
    """Returns utterances of some splits, chosen at random, of at most ``--seconds``.

    Args:
      recognizer: its frontend gives the sample rate.
      splits: the splits.

    Raises:
      ValidationError: the first utterance is longer.
    """
    rate = recognizer.frontend.config.log_mel.sample_rate_hz
    data_dir = pathlib.Path(DATA_DIR.value)
    source = Mixture([open_corpus(data_dir, s.corpus, s.split, rate) for s in splits])
    chosen = sampled(source, _SECONDS.value * rate)
    if not len(chosen):
        names = ", ".join(f"{s.corpus}:{s.split}" for s in splits)
        raise flags.ValidationError(
            f"--seconds={_SECONDS.value:g} is shorter than the first utterance chosen from {names}"
        )
    return chosen


def _batches(recognizer: Recognizer, chosen: Chosen) -> list[AudioBatch]:
    """Returns batches of the audio of utterances.

    Args:
      recognizer: its tokenizer, frontend and pipeline are used.
      chosen: the utterances.
    """
    config = recognizer.config
    pipeline = dataclasses.replace(config.pipeline, num_buckets=2)
    return list(EvalBatches(chosen, recognizer.tokenizer, config.frontend, pipeline))


if __name__ == "__main__":
    run(main)
