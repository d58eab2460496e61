"""Precision policies over a float model: calibrated, and trained through.

The paper's grid (Shakiah et al., 2022) is four of the systems that come out: (a) the float model,
(b) its weights on the chip after calibration, (c) training through integer matrix products with the
other operators on the CPU, (d) accelerator-aware training, through all of the chip's arithmetic.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.experiment.recognizer import ModelDirectoryError, Recognizer
from rnnt_qat.experiment.runner import Experiment
from rnnt_qat.infra.config import to_json
from rnnt_qat.infra.console import Console
from rnnt_qat.models.binding import require_every_rule_used
from rnnt_qat.quant.grammar import slug
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.precision import IntegerMatmul
from rnnt_qat.serving.size import model_bytes
from rnnt_qat.training.checkpoints import ConfigMismatchError, differing_fields
from rnnt_qat.training.stages import Stage, TrainingStage

AWARE, CALIBRATION, FLOAT = "aware", "calibration", "float"


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """What is done for each policy.

    Attributes:
      policies: lines of ``quant.grammar``, one policy each. ``float32`` is measured as it is
        anyway; named here too, it is trained on like the others, which tells what the further
        steps alone are worth.
      aware_steps: accelerator-aware training after calibration; 0 measures calibration alone, None
        trains as long as the model's own experiment says.
    """

    policies: tuple[str, ...] = (
        "w8a8",
        "ethos_u_8x8_16",
        "ethos_u_8x8_16_w4",
        "ethos_u_8x8_16_w2",
    )
    aware_steps: int | None = None


def require_one_config(models: Mapping[str, Recognizer]) -> None:
    """Refuses float models whose errors make no sense when they are pooled: others than seeds.

    Raises:
      ConfigMismatchError: naming the first model that differs, and in what.
    """
    (first, baseline), *others = models.items()
    for name, other in others:
        lines = [
            line
            for line in differing_fields(to_json(baseline.config), to_json(other.config))
            if line.partition(": ")[0].partition(".")[0] not in ("seed", "loop", "initialize_from")
        ]
        if lines:
            raise ConfigMismatchError(
                f"{first} and {name} are not seeds of one config, so their errors cannot be "
                "pooled; sweep each by itself:\n  " + "\n  ".join(lines)
            )


@dataclasses.dataclass(frozen=True)
class System:
    """A float model under a policy.

    Attributes:
      policy: its name.
      stage: ``float``, ``calibration`` or ``aware``: what was done last.
      bytes: parameters on the chip.
    """

    policy: str
    stage: str
    bytes: int

    @property
    def name(self) -> str:
        """For tables and plots, with its letter in the paper's grid."""
        letter = self._letter()
        did = {CALIBRATION: ", calibrated", AWARE: ", trained"}.get(self.stage, "")
        return (f"({letter}) " if letter else "") + self.policy + did

    def _letter(self) -> str:
        if self.stage == FLOAT:
            return "a"
        precisions = [rule.precision for rule in policy_by_name(self.policy).rules]
        if all(isinstance(p, OnAccelerator) for p in precisions):
            return "d" if self.stage == AWARE else "b"
        matmul_only = all(isinstance(p, IntegerMatmul) for p in precisions)
        return "c" if matmul_only and self.stage == AWARE else ""


def sweep(
    model: pathlib.Path,
    config: SweepConfig,
    data_dir: pathlib.Path,
    workdir: pathlib.Path,
    console: Console,
    recipe: ExperimentConfig | None = None,
) -> dict[System, Recognizer]:
    """Recognizers of one float model under each policy and after each stage; the float one first.

    Each policy is an experiment of its own in ``workdir/<slug of the policy>``, to be taken up
    where it was left: the model's experiment without its float stage. Its ``models`` are model
    directories.

    Args:
      model: directory of a float recognizer.
      config: what is done.
      data_dir: where corpora are prepared.
      workdir: takes the experiments.
      console: takes progress lines.
      recipe: data, stages and pipeline to train by; None for the model's own. Sizes and frontend
        are the model's in any case.

    Raises:
      ModelDirectoryError: if the model is not a float one.
      ValueError: a rule of a policy matches no layer of the model.
    """
    base = Recognizer.load(model)
    if base.policy != FLOAT32:
        raise ModelDirectoryError(
            f"{model} is of policy {base.policy.name!r}: a sweep starts from float32, "
            "which experiments.train keeps in WORKDIR/models/float"
        )
    sizes = base.config.model, base.config.frontend.feature_size
    followed = dataclasses.replace(
        recipe or base.config, model=base.config.model, frontend=base.config.frontend
    )

    def system(policy: str, stage: str) -> System:
        return System(policy, stage, model_bytes(sizes[0], policy_by_name(policy), sizes[1]))

    for policy in config.policies:
        require_every_rule_used(base.config.model, policy_by_name(policy))
    recognizers = {system(FLOAT32.name, FLOAT): base}
    for policy in config.policies:
        console.say(f"{model}, policy {policy}")
        experiment_config = _without_float(followed, model, policy, config.aware_steps)
        # One measurement a stage would have nothing to select from.
        selects = max(s.steps for s in experiment_config.stages) > followed.loop.evaluate_every
        experiment = Experiment(
            experiment_config, data_dir, workdir / slug(policy), console, validate=selects
        )
        for stage, recognizer in experiment.train().items():
            if (policy, stage) != (FLOAT32.name, CALIBRATION):  # that is the float model again
                recognizers[system(policy, stage)] = recognizer
    return recognizers


def _without_float(
    config: ExperimentConfig, model: pathlib.Path, policy: str, aware_steps: int | None
) -> ExperimentConfig:
    def changed(stage: Stage) -> Stage:
        if not isinstance(stage, TrainingStage):
            return stage
        if stage.precision == FLOAT32.name:
            return dataclasses.replace(stage, steps=0)
        return stage if aware_steps is None else dataclasses.replace(stage, steps=aware_steps)

    stages = tuple(map(changed, config.stages))
    return dataclasses.replace(
        config, precision=policy, stages=stages, initialize_from=str(model.absolute())
    )
