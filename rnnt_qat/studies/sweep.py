"""Sweeps of precision policies over a float model, after calibration and after training.

Four of the resulting systems form the grid of Shakiah et al. (2022): (a) the float model, (b) the
model on the chip after calibration, (c) training through integer matrix products with the other
operators on the CPU, (d) accelerator-aware training through all of the chip's arithmetic.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

from rnnt_qat.experiment.config import ExperimentConfig
from rnnt_qat.experiment.recognizer import ModelDirectoryError, Recognizer
from rnnt_qat.experiment.remote_paths import OpenWorkdir, absolute_place, readable_folder
from rnnt_qat.experiment.runner import Experiment
from rnnt_qat.infra.config import ConfigError, to_json
from rnnt_qat.infra.console import Console
from rnnt_qat.models.binding import require_every_rule_used
from rnnt_qat.quant.grammar import slug
from rnnt_qat.quant.nna_precision import OnAccelerator
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.precision import IntegerMatmul
from rnnt_qat.serving.size import model_bytes
from rnnt_qat.training.checkpoints import ConfigMismatchError, differing_fields
from rnnt_qat.training.plan import with_steps
from rnnt_qat.training.stages import RemoveUnits, Stage, TrainingStage

AWARE, CALIBRATION, FLOAT = "aware", "calibration", "float"


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Policies and training length of a sweep.

    Attributes:
      policies: policy lines of ``quant.grammar``. The float model is always measured; if
        ``float32`` is listed too, it is trained for the additional steps as well, as a control.
      aware_steps: number of steps of accelerator-aware training after calibration, >= 0; 0
        measures calibration only, None uses the number of the model's experiment.
    """

    policies: tuple[str, ...] = (
        "w8a8",
        "ethos_u_8x8_16",
        "ethos_u_8x8_16_w4",
        "ethos_u_8x8_16_w2",
    )
    aware_steps: int | None = None


def require_one_config(models: Mapping[str, Recognizer]) -> None:
    """Checks that float models differ in their seeds only, so that their errors can be pooled.

    Raises:
      ConfigMismatchError: if they do not; the message names the first model that differs and the
        differing fields.
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
      policy: name or line of the policy.
      stage: the last stage: ``float``, ``calibration`` or ``aware``.
      bytes: size of the parameters on the chip in bytes.
    """

    policy: str
    stage: str
    bytes: int

    @property
    def name(self) -> str:
        """Name in tables and plots, with the system's letter in the grid of Shakiah et al."""
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
    model: str,
    config: SweepConfig,
    data_dir: pathlib.Path,
    workdir: OpenWorkdir,
    console: Console,
    recipe: ExperimentConfig | None = None,
) -> dict[System, Recognizer]:
    """Calibrates and trains one float model under each policy.

    Each policy is a resumable experiment in ``workdir/<slug of the policy>``: the model's
    experiment without its float stage. Its model directories are in ``models``.

    Args:
      model: directory or URL of a float recognizer.
      config: policies and number of training steps.
      data_dir: folder of the prepared corpora.
      workdir: output folder of the experiments, open.
      console: output of progress lines.
      recipe: experiment that provides data, stages and pipeline; None for the model's own. Sizes
        and frontend are always the model's.

    Returns:
      Recognizers by policy and stage, starting with the float one.

    Raises:
      ModelDirectoryError: if the model is not a float one.
      ValueError: if a rule of a policy matches no layer of the model.
    """
    base = Recognizer.load(readable_folder(model))
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
        # With one evaluation per stage there is nothing to select from.
        selects = max(s.steps for s in experiment_config.stages) > followed.loop.evaluate_every
        experiment = Experiment(
            experiment_config,
            data_dir,
            workdir.path / slug(policy),
            console,
            validate=selects,
            workdir_name=f"{workdir.name}/{slug(policy)}",
            saved=workdir.check,
        )
        for stage, recognizer in experiment.train().items():
            if (policy, stage) != (FLOAT32.name, CALIBRATION):  # equals the float model
                recognizers[system(policy, stage)] = recognizer
    return recognizers


def _without_float(
    config: ExperimentConfig, model: str, policy: str, aware_steps: int | None
) -> ExperimentConfig:
    """Returns an experiment without its float stages, from a model that they have made.

    Args:
      config: the experiment.
      model: directory or URL of the float model.
      policy: policy line of the other stages.
      aware_steps: number of steps of each training stage; None leaves it.

    Raises:
      ConfigError: if no stage is left, or one cannot have so few steps.
    """

    def changed(stage: Stage) -> Stage:
        if not isinstance(stage, TrainingStage):
            return stage
        if stage.precision == FLOAT32.name:
            return dataclasses.replace(stage, steps=0)
        return stage if aware_steps is None else dataclasses.replace(stage, steps=aware_steps)

    try:
        stages = tuple(map(changed, config.stages))
    except ValueError as error:
        raise ConfigError(f"--aware_steps={aware_steps}: {error}") from None
    if not with_steps(stages):
        raise ConfigError(
            f"{model}: no stage of its plan calibrates or trains under a policy: give a config "
            "whose plan does, e.g. --config=experiments/configs/on_chip.py"
        )
    stages = tuple(  # without a removal before float stages alone, which the model has behind it
        stage
        for place, stage in enumerate(stages)
        if not isinstance(stage, RemoveUnits) or with_steps(stages[place + 1 :])
    )
    return dataclasses.replace(
        config, precision=policy, stages=stages, initialize_from=absolute_place(model)
    )
