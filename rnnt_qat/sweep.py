"""A grid of precision policies over trained models: calibrated, trained through, compared."""

import csv
import dataclasses
import pathlib
from collections.abc import Sequence

from rnnt_qat.evaluation.report import compare
from rnnt_qat.evaluation.result import EvaluationResult, UtteranceResult
from rnnt_qat.experiment import Experiment
from rnnt_qat.experiment_config import ExperimentConfig
from rnnt_qat.metrics.wer import ErrorCounts
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.recognizer import ModelDirectoryError, Recognizer
from rnnt_qat.training.console import Console


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """What is done for each policy.

    Attributes:
      policies: names. ``float32`` is measured as it is anyway; named here too, it is trained on
        like the others, which tells what the further steps alone are worth.
      aware_steps: accelerator-aware training after calibration; 0 measures calibration alone.
    """

    policies: tuple[str, ...] = ("w8a8", "w4a8", "w2a8")
    aware_steps: int = 0


def sweep(
    model: pathlib.Path,
    config: SweepConfig,
    data_dir: pathlib.Path,
    workdir: pathlib.Path,
    console: Console,
) -> dict[str, Recognizer]:
    """Recognizers of one float model under each policy, by policy and stage; the float one first.

    Each policy is an experiment of its own in ``workdir/<policy>``, to be taken up where it was
    left: the model's experiment without its float stage.

    Args:
      model: directory of a float recognizer.
      config: the grid.
      data_dir: where corpora are prepared.
      workdir: takes the experiments.
      console: takes progress lines.

    Raises:
      ModelDirectoryError: if the model is not a float one.
    """
    base = Recognizer.load(model)
    if base.policy != FLOAT32:
        raise ModelDirectoryError(
            f"{model} is of policy {base.policy.name!r}: a sweep starts from float32, "
            "which experiments.train keeps in WORKDIR/models/float"
        )
    recognizers = {FLOAT32.name: base}
    for policy in config.policies:
        console.say(f"{model}, policy {policy}")
        experiment = Experiment(
            _without_float(base.config, model, policy, config.aware_steps),
            data_dir,
            workdir / policy,
            console,
        )
        for stage, recognizer in experiment.train().items():
            recognizers[f"{policy} {stage}"] = recognizer
    return recognizers


def _without_float(
    config: ExperimentConfig, model: pathlib.Path, policy: str, aware_steps: int
) -> ExperimentConfig:
    stages = dataclasses.replace(
        config.stages,
        float_training=dataclasses.replace(config.stages.float_training, steps=0),
        aware_training=dataclasses.replace(config.stages.aware_training, steps=aware_steps),
    )
    return dataclasses.replace(
        config, precision=policy, stages=stages, initialize_from=str(model.absolute())
    )


def pool(runs: Sequence[Sequence[EvaluationResult]]) -> list[EvaluationResult]:
    """The same evaluations of several models (seeds) as one: errors add up by utterance.

    An utterance stays one draw of the bootstrap, however many models decoded it. Texts, tokens and
    times are those of the first model.
    """

    def pooled(*utterances: UtteranceResult) -> UtteranceResult:
        return dataclasses.replace(
            utterances[0],
            words=ErrorCounts.total(u.words for u in utterances),
            characters=ErrorCounts.total(u.characters for u in utterances),
        )

    return [
        dataclasses.replace(
            results[0],
            utterances=tuple(map(pooled, *(result.utterances for result in results))),
        )
        for results in zip(*runs, strict=True)
    ]


def write_table(path: pathlib.Path, runs: Sequence[Sequence[EvaluationResult]]) -> None:
    """CSV of one test set, a row a system: pooled over models, and each model's WER.

    Args:
      path: to write.
      runs: results of each model on the test set, the same systems in the same order; the first
        system is the baseline.
    """
    fields = ["test_set", "system", "wer", "wer_low", "wer_high", "difference", "difference_low"]
    fields += ["difference_high", "deletion_rate", "substitution_rate", "insertion_rate"]
    fields += [f"wer_model_{number}" for number in range(len(runs))]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields, extrasaction="ignore")
        writer.writeheader()
        for row, comparison in enumerate(compare(pool(runs))):
            result, difference = comparison.result, comparison.difference
            values = dict(result.metrics()) | {"test_set": result.test_set, "system": result.system}
            if difference is not None:
                interval = difference.difference
                values |= {
                    "difference": interval.value,
                    "difference_low": interval.low,
                    "difference_high": interval.high,
                }
            values |= {f"wer_model_{n}": run[row].wer.value for n, run in enumerate(runs)}
            writer.writerow(values)
