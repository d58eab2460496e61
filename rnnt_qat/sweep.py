"""A grid of precision policies over one trained model: calibrated, or trained through, compared."""

import csv
import dataclasses
import pathlib
from collections.abc import Sequence

from rnnt_qat.evaluation.report import compare
from rnnt_qat.evaluation.result import EvaluationResult
from rnnt_qat.experiment import Experiment
from rnnt_qat.experiment_config import ExperimentConfig
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.recognizer import Recognizer
from rnnt_qat.training.console import Console


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """What is done for each policy.

    Attributes:
      policies: names; ``float32`` is always measured, as the baseline.
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
    """Recognizers of one float model under each policy, by name; the float one first.

    Each policy is an experiment of its own in ``workdir/<policy>``, to be taken up where it was
    left: the model's experiment without its float stage.

    Args:
      model: directory of a float recognizer.
      config: the grid.
      data_dir: where corpora are prepared.
      workdir: takes the experiments.
      console: takes progress lines.
    """
    base = Recognizer.load(model)
    if base.policy != FLOAT32:
        raise ValueError(f"{model} is of policy {base.policy.name!r}: a sweep starts from float32")
    recognizers = {FLOAT32.name: base}
    for name in config.policies:
        console.say(f"policy {name}")
        experiment = Experiment(
            _without_float(base.config, model, name, config.aware_steps),
            data_dir,
            workdir / name,
            console,
        )
        stages = experiment.train()
        for stage, recognizer in stages.items():
            recognizers[f"{name} {stage}"] = recognizer
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


def write_table(path: pathlib.Path, results: Sequence[EvaluationResult]) -> None:
    """CSV of one test set: a row a system, the first one the baseline."""
    fields = ["test_set", "system", "wer", "wer_low", "wer_high", "difference", "difference_low"]
    fields += ["difference_high", "deletion_rate", "substitution_rate", "insertion_rate"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields, extrasaction="ignore")
        writer.writeheader()
        for comparison in compare(results):
            result, difference = comparison.result, comparison.difference
            row = dict(result.metrics()) | {"test_set": result.test_set, "system": result.system}
            if difference is not None:
                interval = difference.difference
                row |= {
                    "difference": interval.value,
                    "difference_low": interval.low,
                    "difference_high": interval.high,
                }
            writer.writerow(row)
