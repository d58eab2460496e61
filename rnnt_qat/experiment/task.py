"""The recognizer as the trainer sees it: objectives, observation, evaluators, teachers."""

import dataclasses
import functools
import statistics
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from rnnt_qat.batch import AudioBatch, Batch
from rnnt_qat.evaluation.streaming_evaluator import StreamingEvaluator
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.frontend.spec_augment import SpecAugmentConfig, spec_augment
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.losses import is_feasible
from rnnt_qat.models.binding import require_every_rule_used
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.objectives.outputs import Outputs, forward
from rnnt_qat.quant.diagnostics import Diagnosis
from rnnt_qat.quant.policies import FLOAT32, policy_by_name
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.quantized_module import RANGES, calibrated_ranges, check_calibrated
from rnnt_qat.training.checkpoints import WER
from rnnt_qat.training.objective import Objectives, total
from rnnt_qat.training.state import AwareParams
from rnnt_qat.training.task import Evaluator, Teacher
from rnnt_qat.training.update import Frozen, LossFunction, RowLosses
from rnnt_qat.typing import Array, Int, PRNGKey, PyTree

Diagnose = Callable[[PyTree], Sequence[Diagnosis]]
"""Variables, global arrays, to a row an operator of each layer."""

OWN_START = "self"
"""The teacher that is the network which a stage starts from."""


@dataclasses.dataclass(frozen=True)
class FloatTeacher:
    """Implements ``training.task.Teacher``: a recognizer in floating point, without dropout.

    Attributes:
      model: its sizes.
      params: its parameters; None: those that the stage starts from.
    """

    model: RNNTConfig
    params: PyTree | None

    def __call__(self, params: PyTree, batch: Batch) -> Outputs:
        """Returns its outputs for the features that the student sees."""
        return forward(RNNT(self.model, FLOAT32), {"params": params}, _model_inputs(batch))


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What is measured in training, made for a policy when a stage first asks.

    Attributes:
      evaluators: under a policy; their mean WER selects checkpoints. None measures nothing.
      diagnose: tells what a policy's arithmetic does to its values; None leaves it out.
    """

    evaluators: Callable[[PrecisionPolicy], Sequence[StreamingEvaluator]] | None = None
    diagnose: Callable[[PrecisionPolicy], Diagnose] | None = None


class RecognizerTask:
    """Implements ``training.task.Task`` for the RNN transducer.

    Args:
      model: sizes.
      policy: the experiment's arithmetic.
      frontend: audio to features.
      augment: masks on the features in training.
      objectives: of stages that name none.
      measurement: of every stage.
      load_teacher: a model directory's name to the teacher.
    """

    def __init__(
        self,
        model: RNNTConfig,
        policy: PrecisionPolicy,
        frontend: Frontend,
        augment: SpecAugmentConfig,
        objectives: Objectives,
        measurement: Measurement = Measurement(),
        load_teacher: Callable[[str], FloatTeacher] | None = None,
    ):
        self.objectives = objectives
        self._model, self._policy, self._measurement = model, policy, measurement
        self._frontend, self._augment = frontend, augment
        self._load_teacher = load_teacher
        self._bound: dict[str, RecognizerUnderPolicy] = {}

    def initial_params(self, key: PRNGKey) -> PyTree:
        """Random parameters, float32; the same tree under every policy."""
        inputs = example_inputs(self._model, self._frontend.config.feature_size)
        return RNNT(self._model, FLOAT32).init(key, *inputs)["params"]

    def under(self, precision: str) -> "RecognizerUnderPolicy":
        """The recognizer under a policy by name; an empty name is the experiment's."""
        policy = policy_by_name(precision) if precision else self._policy
        if policy.name not in self._bound:
            self._bound[policy.name] = RecognizerUnderPolicy(
                self._model, policy, self._frontend, self._augment, self._measurement
            )
        return self._bound[policy.name]

    def teacher(self, name: str) -> FloatTeacher:
        """The teacher in a model directory, or the network that the stage starts from.

        Raises:
          ConfigError: there is nothing that loads model directories.
        """
        if name == OWN_START:
            return FloatTeacher(self._model, None)
        if self._load_teacher is None:
            raise ConfigError(f"teacher={name!r}: only {OWN_START!r} can teach here")
        return self._load_teacher(name)


class RecognizerUnderPolicy:
    """Implements ``training.task.ModelUnderPolicy``; ``RecognizerTask.under`` makes it.

    Args:
      model: sizes.
      policy: arithmetic of the forward pass.
      frontend: audio to features.
      augment: masks on the features in training.
      measurement: evaluators and diagnosis.

    Raises:
      ValueError: a rule of the policy matches no layer.
    """

    def __init__(
        self,
        model: RNNTConfig,
        policy: PrecisionPolicy,
        frontend: Frontend,
        augment: SpecAugmentConfig,
        measurement: Measurement,
    ):
        require_every_rule_used(model, policy)
        self.policy = policy
        self._config, self._learned = model, policy.learned
        self._model, self._calibrating = RNNT(model, policy), RNNT(model, policy.calibration())
        self._frontend, self._augment = frontend, augment
        self._measurement = measurement
        self._inputs = example_inputs(model, frontend.config.feature_size)

    def empty_ranges(self) -> PyTree:
        """Zero for every site that the policy calibrates."""
        shapes = jax.eval_shape(self._calibrating.init, jax.random.key(0), *self._inputs)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes.get(RANGES, {}))

    def check_ranges(self, params: PyTree, quant_stats: PyTree) -> None:
        """Raises ValueError, naming the sites, if a range is not positive."""
        check_calibrated(self.variables(params, quant_stats)[RANGES])

    @property
    def range_rate(self) -> float | None:
        """Learning rate of ranges as a multiple of the network's; None where none are trained."""
        return None if self._learned is None else self._learned.rate

    def trainable(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """The parameters, and those of the ranges where the policy trains them."""
        if self._learned is None:
            return params
        ranges = calibrated_ranges(quant_stats)
        return AwareParams(params, jax.tree.map(self._learned.initial, ranges))

    def ranges(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """``quant_stats``, or the ranges that were trained."""
        if not isinstance(params, AwareParams):
            return quant_stats
        assert self._learned is not None
        return jax.tree.map(self._learned.max_abs, params.ranges)

    def variables(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """Variables of the model in any stage, with the ranges in force.

        A policy without formats has none, whatever an earlier stage has calibrated.
        """
        network = params.network if isinstance(params, AwareParams) else params
        ranges = calibrated_ranges(self.ranges(params, quant_stats)) if self._has_ranges else {}
        return {"params": network, RANGES: ranges}

    @functools.cached_property
    def _has_ranges(self) -> bool:
        return bool(jax.tree.leaves(self.empty_ranges()))

    def loss(self, objectives: Objectives, teacher: Teacher | None = None) -> LossFunction:
        """A ``LossFunction``, in the dtype of the parameters it is given, with dropout.

        Args:
          objectives: what is minimised.
          teacher: whose outputs they read.

        Raises:
          ConfigError: an objective lacks a part of the model, or the teacher; or nobody reads it.
        """
        self._check_objectives(objectives, teacher)

        def losses(
            params: PyTree,
            frozen: Frozen,
            batch: AudioBatch | Batch,
            step: Int[Array, ""],
            key: PRNGKey,
        ) -> RowLosses:
            features_key, dropout_key = jax.random.split(key)
            batch = self._masked(batch, features_key)
            row_keys = _row_keys(dropout_key, batch)
            variables = self.variables(params, frozen.quant_stats)
            dtype = jax.tree.leaves(variables["params"])[0].dtype
            student = dataclasses.replace(batch, features=batch.features.astype(dtype))
            outputs = forward(self._model, variables, _model_inputs(student), row_keys)
            taught = None if teacher is None else teacher(frozen.teacher, batch)
            loss, terms = total(objectives, outputs, taught, batch, step)
            return self._row_losses(loss, terms, outputs, batch)

        return losses

    def _check_objectives(self, objectives: Objectives, teacher: Teacher | None) -> None:
        for each in objectives:
            try:
                each.objective.check(self._config)
            except ValueError as error:
                raise ConfigError(f"objectives.{each.name}: {error}") from error
            if each.objective.needs_teacher and teacher is None:
                raise ConfigError(
                    f"objectives.{each.name} reads a teacher, and the stage has none: set its "
                    f"teacher to a model directory or {OWN_START!r}"
                )
        if not objectives:
            raise ConfigError("objectives: there must be one at least")
        if teacher is not None and not any(each.objective.needs_teacher for each in objectives):
            raise ConfigError("a stage has a teacher, but none of its objectives reads one")

    def observe(self, params: PyTree, quant_stats: PyTree, batch: AudioBatch | Batch) -> PyTree:
        """The ranges with those of this batch, as it will be heard: nothing is masked."""
        variables = {"params": params, RANGES: quant_stats}
        inputs = _model_inputs(self._features(batch))
        _, updated = self._calibrating.apply(variables, *inputs, mutable=[RANGES])
        return updated.get(RANGES, {})

    def _features(self, batch: AudioBatch | Batch) -> Batch:
        return batch if isinstance(batch, Batch) else self._frontend.batch(batch)

    def _masked(self, batch: AudioBatch | Batch, key: PRNGKey) -> Batch:
        batch = self._features(batch)
        bins = self._frontend.config.log_mel.num_mel_bins
        row_keys = _row_keys(key, batch)
        masked = spec_augment(row_keys, batch.features, batch.feature_lengths, bins, self._augment)
        return dataclasses.replace(batch, features=masked)

    def _row_losses(
        self, loss: Array, terms: dict[str, Array], outputs: Outputs, batch: Batch
    ) -> RowLosses:
        lattice = outputs.lattice
        present = batch.utterance_index >= 0
        feasible = is_feasible(
            lattice.encoded_lengths,
            batch.label_lengths,
            lattice.encoded.shape[1],
            batch.labels.shape[1],
        )
        frame_seconds = self._frontend.config.frame_ms / 1000
        return RowLosses(
            loss=loss,
            present=present,
            feasible=present & feasible,
            labels=batch.label_lengths,
            audio_seconds=batch.feature_lengths * jnp.float32(frame_seconds),
            terms=terms,
        )

    @functools.cached_property
    def evaluate(self) -> Evaluator | None:
        """Metrics of all test sets, and their mean WER under the name that selects."""
        measurement = self._measurement
        evaluators = measurement.evaluators(self.policy) if measurement.evaluators else ()
        if not evaluators:
            return None
        diagnose = None
        if measurement.diagnose and self.policy != FLOAT32:
            diagnose = measurement.diagnose(self.policy)

        def evaluate(params: PyTree, quant_stats: PyTree) -> dict[str, float]:
            variables = self.variables(params, quant_stats)
            metrics = {name: value for e in evaluators for name, value in e.run(variables)}
            for row in diagnose(variables) if diagnose else ():
                metrics |= {f"diagnostics/{name}": value for name, value in row.metrics()}
            return {WER: statistics.fmean(metrics[f"{e.name}/wer"] for e in evaluators), **metrics}

        return evaluate


def _model_inputs(batch: Batch):
    return batch.features, batch.feature_lengths, batch.labels, batch.label_lengths


def _row_keys(key: PRNGKey, batch: Batch) -> PRNGKey:
    """A key an utterance: chance is the same wherever in a batch, and on which device, it lies."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch.utterance_index)
