"""A recognizer under one precision policy, as stages train, calibrate and evaluate it."""

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
from rnnt_qat.infra.random_keys import descend
from rnnt_qat.losses import is_feasible
from rnnt_qat.models.binding import require_every_rule_used
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.objectives.outputs import Outputs, forward
from rnnt_qat.quant.bias_correction import corrected_biases
from rnnt_qat.quant.diagnostics import Diagnosis
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.quantized_module import QUANT_STATS, calibrated_ranges, check_calibrated
from rnnt_qat.training.checkpoints import WER
from rnnt_qat.training.objective import Objectives, total
from rnnt_qat.training.state import AwareParams
from rnnt_qat.training.task import EvaluationProgress, Evaluator, Teacher
from rnnt_qat.training.update import Frozen, LossFunction, RowLosses
from rnnt_qat.typing import Array, Int, PRNGKey, PyTree

OWN_START = "self"
"""Name of the teacher that is the network from which a stage starts."""

Diagnose = Callable[[PyTree], Sequence[Diagnosis]]
"""Function from variables, global arrays, to one diagnosis per operator of each layer."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Factories of the measurements during training, called lazily for each model and policy.

    Attributes:
      evaluators: returns the evaluators of a model under a policy, whose mean WER selects
        checkpoints; None disables evaluation.
      diagnose: returns diagnostics of a policy's arithmetic in a model; None disables them.
    """

    evaluators: Callable[[RNNTConfig, PrecisionPolicy], Sequence[StreamingEvaluator]] | None = None
    diagnose: Callable[[RNNTConfig, PrecisionPolicy], Diagnose] | None = None


class RecognizerUnderPolicy:
    """The result of ``RecognizerTask.under``; implements ``training.task.ModelUnderPolicy``.

    Args:
      model: architecture of the network.
      policy: precision policy of the forward pass.
      frontend: computes features from audio.
      augment: masking of features in training.
      measurement: evaluation and diagnostics.

    Raises:
      ValueError: if a rule of the policy matches no layer.
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
        self._model = RNNT(model, policy)
        self._frontend, self._augment = frontend, augment
        self._measurement = measurement
        self._inputs = example_inputs(model, frontend.config.feature_size)

    def empty_ranges(self, operands: bool = False) -> PyTree:
        """Returns a range of zero for every site that the policy calibrates.

        Args:
          operands: whether to add an empty sum for the operand of every kernel.
        """
        init = self._calibrating(operands).init
        shapes = jax.eval_shape(init, jax.random.key(0), *self._inputs)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes.get(QUANT_STATS, {}))

    def check_ranges(self, params: PyTree, quant_stats: PyTree) -> None:
        """Raises ValueError, naming the sites, if a range is not positive."""
        check_calibrated(self.variables(params, quant_stats)[QUANT_STATS])

    @property
    def range_rate(self) -> float | None:
        """Learning rate of ranges as a multiple of the network's; None if none are trained."""
        return None if self._learned is None else self._learned.rate

    def trainable(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """Returns the parameters, with those of the ranges if the policy trains them."""
        if self._learned is None:
            return params
        ranges = calibrated_ranges(quant_stats)
        return AwareParams(params, jax.tree.map(self._learned.initial, ranges))

    def ranges(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """Returns the trained ranges if the policy trains them, else ``quant_stats``."""
        if not isinstance(params, AwareParams):
            return quant_stats
        assert self._learned is not None
        return jax.tree.map(self._learned.max_abs, params.ranges)

    def variables(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """Returns the variables of the model in any stage.

        Ranges are omitted if the policy has no formats, even if an earlier stage calibrated some.

        Args:
          params: ``AwareParams`` or the network's parameters.
          quant_stats: the quantization ranges.
        """
        network = params.network if isinstance(params, AwareParams) else params
        ranges = calibrated_ranges(self.ranges(params, quant_stats)) if self._has_ranges else {}
        return {"params": network, QUANT_STATS: ranges}

    @functools.cached_property
    def _has_ranges(self) -> bool:
        return bool(jax.tree.leaves(self.empty_ranges()))

    def loss(self, objectives: Objectives, teacher: Teacher | None = None) -> LossFunction:
        """Returns a ``LossFunction`` with dropout that computes in the dtype of its parameters.

        Args:
          objectives: the objectives to minimise.
          teacher: model whose outputs the objectives read.

        Raises:
          ConfigError: if the model lacks an output that an objective reads, if an objective needs
            a teacher and there is none, or if no objective reads the teacher.
        """
        self._check_objectives(objectives, teacher)

        def losses(
            params: PyTree,
            frozen: Frozen,
            batch: AudioBatch | Batch,
            step: Int[Array, ""],
            key: PRNGKey,
        ) -> RowLosses:
            masking_keys, dropout_keys = _row_keys(key, batch.utterance_index)
            batch = self._masked(batch, masking_keys)
            variables = self.variables(params, frozen.quant_stats)
            dtype = jax.tree.leaves(variables["params"])[0].dtype
            student = dataclasses.replace(batch, features=batch.features.astype(dtype))
            outputs = forward(self._model, variables, model_inputs(student), dropout_keys)
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

    def observe(
        self,
        params: PyTree,
        quant_stats: PyTree,
        batch: AudioBatch | Batch,
        operands: bool = False,
    ) -> PyTree:
        """Returns the ranges updated with a batch, without masking, as in recognition.

        Args:
          params: the network's parameters.
          quant_stats: the ranges before the batch.
          batch: the batch.
          operands: whether to add up the operands of kernels as well, for ``corrected``.
        """
        variables = {"params": params, QUANT_STATS: quant_stats}
        inputs = model_inputs(self._features(batch))
        calibrating = self._calibrating(operands)
        _, updated = calibrating.apply(variables, *inputs, mutable=[QUANT_STATS])
        return updated.get(QUANT_STATS, {})

    def corrected(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """Returns the parameters with biases that undo the mean error of the kernels.

        Args:
          params: the network's parameters.
          quant_stats: ranges and operands of calibration.
        """
        variables = self.variables(params, quant_stats)
        return corrected_biases(self._model, variables, quant_stats, *self._inputs)

    def _calibrating(self, operands: bool) -> RNNT:
        return RNNT(self._config, self.policy.calibration(operands))

    def _features(self, batch: AudioBatch | Batch) -> Batch:
        return batch if isinstance(batch, Batch) else self._frontend.batch(batch)

    def _masked(self, batch: AudioBatch | Batch, row_keys: PRNGKey) -> Batch:
        batch = self._features(batch)
        bins = self._frontend.config.log_mel.num_mel_bins
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
        """Evaluator of all test sets; it adds their mean WER as the selection metric."""
        measurement = self._measurement
        create = measurement.evaluators
        evaluators = create(self._config, self.policy) if create else ()
        if not evaluators:
            return None
        diagnose = None
        if measurement.diagnose and self.policy != FLOAT32:
            diagnose = measurement.diagnose(self._config, self.policy)

        def evaluate(
            params: PyTree, quant_stats: PyTree, progress: EvaluationProgress
        ) -> dict[str, float]:
            variables = self.variables(params, quant_stats)
            metrics: dict[str, float] = {}
            for number in range(len(evaluators)):
                part = functools.partial(_report, evaluators, number, progress)
                metrics |= dict(evaluators[number].run(variables, part))
            for row in diagnose(variables) if diagnose else ():
                metrics |= {f"diagnostics/{name}": value for name, value in row.metrics()}
            return {WER: statistics.fmean(metrics[f"{e.name}/wer"] for e in evaluators), **metrics}

        return evaluate


def _report(
    evaluators: Sequence[StreamingEvaluator],
    number: int,
    progress: EvaluationProgress,
    done: int,
    total: int,
    programs_left: int,
) -> None:
    """Reports the progress of one of several test sets as a part of all of them.

    Args:
      evaluators: those of all test sets, in their order.
      number: which of them reports.
      progress: gets the numbers of all test sets.
      done: number of its decoded batches.
      total: number of its batches.
      programs_left: number of programs that it has yet to compile.
    """
    before, after = evaluators[:number], evaluators[number + 1 :]
    progress(
        sum(e.num_batches for e in before) + done,
        total + sum(e.num_batches for e in (*before, *after)),
        programs_left + sum(e.programs_left for e in after),
    )


def model_inputs(batch: Batch) -> tuple[Array, Array, Array, Array]:
    """Returns the arguments of `RNNT`: features and labels, each with its lengths."""
    return batch.features, batch.feature_lengths, batch.labels, batch.label_lengths


def _row_keys(key: PRNGKey, utterance_index: Int[Array, "B"]) -> PRNGKey:
    """Derives two keys per utterance, independent of its row in the batch and of its device.

    Args:
      key: key of the step.
      utterance_index: index of each row's utterance.

    Returns:
      Keys ``[2, B]``: for masking features, and for dropout.
    """
    return descend(key, jnp.arange(2)[:, None], utterance_index)
