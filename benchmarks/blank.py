"""Why a beam hears more than greedy search: is the blank too likely, or is it the commitment?

    python -m benchmarks.blank --model=data/pretrained/assistant --test=asterisk_prompts:validation

A constant is taken off the blank's logit (off its bias in the joint, which is what a chip would do
as well) and the sets are decoded greedily and by a beam. If blanks were too likely, greedy search
would gain by it; where it only trades deletions for substitutions and insertions, it would not.
Use sets that nothing else is measured on: this chooses a constant.
"""

import pathlib

from absl import flags

from rnnt_qat.decoding.beam import BeamConfig
from rnnt_qat.decoding.greedy import GreedyConfig
from rnnt_qat.evaluation.streaming_evaluator import EvaluationConfig
from rnnt_qat.experiment.config import Split
from rnnt_qat.experiment.recognizer import Recognizer
from rnnt_qat.infra.program import run
from rnnt_qat.metrics.wer import ErrorCounts
from rnnt_qat.typing import BLANK_ID, PyTree

_MODEL = flags.DEFINE_string("model", "data/pretrained/assistant", "Directory of a recognizer.")
_TEST = flags.DEFINE_list("test", ["asterisk_prompts:validation"], "CORPUS:SPLIT by comma.")
_PENALTIES = flags.DEFINE_list("penalties", ["0", "0.5", "1", "2"], "Nats off the blank's logit.")
_BEAM = flags.DEFINE_integer("beam_size", 4, "Width of the beam.")
_DATA = flags.DEFINE_string("data_dir", "corpora", "Where corpora are prepared.")


def penalized(variables: PyTree, nats: float) -> PyTree:
    """The variables of a model whose blank is so much less likely."""
    params = variables["params"]
    joint = {**params["joint"], "bias": params["joint"]["bias"].at[BLANK_ID].add(-nats)}
    return {**variables, "params": {**params, "joint": joint}}


def main() -> None:
    """Prints a table with a row for each test set, search and penalty."""
    recognizer = Recognizer.load(pathlib.Path(_MODEL.value))
    splits = [Split.parse(name) for name in _TEST.value]
    print("| test set | search | blank | WER | substitutions | deletions | insertions |")
    print("|---|---|---:|---:|---:|---:|---:|")
    searches = {"greedy": GreedyConfig(), f"beam of {_BEAM.value}": BeamConfig(_BEAM.value)}
    for split in splits:
        for name, search in searches.items():
            evaluation = EvaluationConfig(search)
            evaluator = recognizer.evaluator([split], evaluation, pathlib.Path(_DATA.value))
            for nats in map(float, _PENALTIES.value):
                (result,) = evaluator.evaluate(penalized(recognizer.variables, nats))
                total = ErrorCounts.total(each.words for each in result.utterances)
                kinds = (total.errors, total.substitutions, total.deletions, total.insertions)
                shares = " | ".join(f"{100 * n / total.reference_length:.1f} %" for n in kinds)
                print(f"| {split.name} | {name} | {-nats:+g} | {shares} |", flush=True)


if __name__ == "__main__":
    run(main)
