"""The training task of a recognizer: the network under each policy, teachers, removal of units."""

import dataclasses
import typing
from collections.abc import Callable, Sequence

from rnnt_qat.batch import Batch
from rnnt_qat.experiment.recognizer_under_policy import (
    OWN_START,
    Measurement,
    RecognizerUnderPolicy,
    model_inputs,
)
from rnnt_qat.experiment.unit_pruning import UnitPruning, UnitRemoval
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.frontend.spec_augment import SpecAugmentConfig
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.models.hidden_units import lstm_widths, with_lstm_widths
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.objectives.outputs import Outputs, forward
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.training.hooks import Hook
from rnnt_qat.training.objective import Objectives
from rnnt_qat.typing import PRNGKey, PyTree


@dataclasses.dataclass(frozen=True)
class FloatTeacher:
    """A floating-point recognizer without dropout that implements ``training.task.Teacher``.

    Attributes:
      model: architecture of the teacher.
      params: parameters of the teacher; None for those that the stage starts from.
    """

    model: RNNTConfig
    params: PyTree | None

    def __call__(self, params: PyTree, batch: Batch) -> Outputs:
        """Returns the teacher's outputs for the student's features."""
        return forward(RNNT(self.model, FLOAT32), {"params": params}, model_inputs(batch))


class RecognizerTask:
    """The RNN transducer's implementation of ``training.task.Task``.

    Args:
      model: architecture of the network.
      policy: the experiment's precision policy.
      frontend: computes features from audio.
      augment: masking of features in training.
      objectives: objectives of stages that name none.
      measurement: evaluation and diagnostics of every stage; None for neither.
      load_teacher: loads the teacher from a model directory.

    Attributes:
      model: architecture of the network.
      objectives: objectives of stages that name none.
    """

    def __init__(
        self,
        model: RNNTConfig,
        policy: PrecisionPolicy,
        frontend: Frontend,
        augment: SpecAugmentConfig,
        objectives: Objectives,
        measurement: Measurement | None = None,
        load_teacher: Callable[[str], FloatTeacher] | None = None,
    ):
        self.objectives, self.model = objectives, model
        self._policy, self._measurement = policy, measurement or Measurement()
        self._frontend, self._augment = frontend, augment
        self._load_teacher = load_teacher
        self._bound: dict[str, RecognizerUnderPolicy] = {}

    def initial_params(self, key: PRNGKey) -> PyTree:
        """Returns random float32 parameters; their structure is the same under every policy."""
        inputs = example_inputs(self.model, self._frontend.config.feature_size)
        return RNNT(self.model, FLOAT32).init(key, *inputs)["params"]

    def under(self, precision: str) -> "RecognizerUnderPolicy":
        """Returns the recognizer under a policy; an empty name selects the experiment's."""
        policy = policy_by_name(precision) if precision else self._policy
        if policy.name not in self._bound:
            self._bound[policy.name] = RecognizerUnderPolicy(
                self.model, policy, self._frontend, self._augment, self._measurement
            )
        return self._bound[policy.name]

    def teacher(self, name: str) -> FloatTeacher:
        """Returns the teacher in a model directory, or the network that the stage starts from.

        Raises:
          ConfigError: if the task cannot load model directories.
        """
        if name == OWN_START:
            return FloatTeacher(self.model, None)
        if self._load_teacher is None:
            raise ConfigError(f"teacher={name!r}: only {OWN_START!r} can teach here")
        return self._load_teacher(name)

    def without_units(self, hooks: Sequence[Hook]) -> tuple[typing.Self, UnitRemoval]:
        """Returns the task of the network without pruned units, and their removal.

        Args:
          hooks: the hooks of all stages since the last removal, at least one.

        Raises:
          ConfigError: if none of the hooks prunes units.
        """
        pruning = [hook for hook in hooks if isinstance(hook, UnitPruning)]
        if not pruning:
            raise ConfigError(
                "stages: no hook before the removal of units prunes any: "
                f"{', '.join(hook.name for hook in hooks)} is no UnitPruning, nor beside one"
            )
        removal = UnitRemoval.after(pruning, lstm_widths(self.model))
        smaller = type(self)(
            with_lstm_widths(self.model, removal.widths),
            self._policy,
            self._frontend,
            self._augment,
            self.objectives,
            self._measurement,
            self._load_teacher,
        )
        return smaller, removal
