"""The recognizer as the trainer sees it: losses, observation, evaluators."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rnnt_qat.batch import AudioBatch, Batch
from rnnt_qat.evaluation.streaming_evaluator import StreamingEvaluator
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.frontend.spec_augment import SpecAugmentConfig, spec_augment
from rnnt_qat.infra.config import ConfigError
from rnnt_qat.losses import ctc_loss, is_feasible, transducer_loss_factored
from rnnt_qat.models.binding import require_every_rule_used
from rnnt_qat.models.rnnt import RNNT, RNNTConfig, example_inputs
from rnnt_qat.quant.diagnostics import Diagnosis
from rnnt_qat.quant.policies import FLOAT32
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.quant.quantized_module import RANGES, calibrated_ranges, check_calibrated
from rnnt_qat.training.checkpoints import WER
from rnnt_qat.training.state import AwareParams
from rnnt_qat.training.update import RowLosses
from rnnt_qat.typing import PRNGKey, PyTree

Diagnose = Callable[[PyTree], Sequence[Diagnosis]]
"""Variables, global arrays, to a row an operator of each layer."""


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The transducer loss in training.

    Attributes:
      chunk_frames: encoder frames whose logits exist at one time: memory against speed.
      fastemit_lambda: strength of FastEmit (Yu et al. 2021); 0 is the plain likelihood.
      ctc_weight: weight of the encoder's own CTC loss beside the transducer's; a little of it
        spares a small corpus the long start in which only the prediction network learns.
    """

    chunk_frames: int = 8
    fastemit_lambda: float = 0.0
    ctc_weight: float = 0.0


class RecognizerTask:
    """Implements ``training.stages.Task`` for the RNN transducer.

    Args:
      model: sizes.
      policy: arithmetic of the accelerator.
      frontend: audio to features.
      augment: masks on the features in training.
      loss: the loss.
      float_evaluators: measure under floating point; their mean WER selects checkpoints.
      aware_evaluators: measure under ``policy``; their mean WER selects checkpoints.
      diagnose: tells, at each of their evaluations, what the arithmetic does to its values.
    """

    def __init__(
        self,
        model: RNNTConfig,
        policy: PrecisionPolicy,
        frontend: Frontend,
        augment: SpecAugmentConfig,
        loss: LossConfig,
        float_evaluators: Sequence[StreamingEvaluator] = (),
        aware_evaluators: Sequence[StreamingEvaluator] = (),
        diagnose: Diagnose | None = None,
    ):
        if loss.ctc_weight and not model.ctc_head:
            raise ConfigError(f"loss.ctc_weight={loss.ctc_weight:g} needs model.ctc_head=True")
        require_every_rule_used(model, policy)
        self._config, self._learned = model, policy.learned
        self._float, self._aware = RNNT(model, FLOAT32), RNNT(model, policy)
        self._calibrating = RNNT(model, policy.calibration())
        self._frontend, self._augment, self._loss = frontend, augment, loss
        self._inputs = example_inputs(model, frontend.config.feature_size)
        self.evaluate_float = self._evaluate(float_evaluators)
        self.evaluate_aware = self._evaluate(aware_evaluators, diagnose)

    def initial_params(self, key: PRNGKey) -> PyTree:
        """Random parameters, float32; the same tree under every policy."""
        return self._float.init(key, *self._inputs)["params"]

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

    def aware_params(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """The parameters, and those of the ranges where the policy trains them."""
        if self._learned is None:
            return params
        ranges = calibrated_ranges(quant_stats)
        return AwareParams(params, jax.tree.map(self._learned.initial, ranges))

    def variables(self, params: PyTree, quant_stats: PyTree) -> PyTree:
        """Variables of the model in any stage: the ranges in force are the trained, if any are."""
        if not isinstance(params, AwareParams):
            return {"params": params, RANGES: calibrated_ranges(quant_stats)}
        assert self._learned is not None
        ranges = jax.tree.map(self._learned.max_abs, params.ranges)
        return {"params": params.network, RANGES: ranges}

    def float_loss(
        self, params: PyTree, quant_stats: PyTree, batch: AudioBatch | Batch, key: PRNGKey
    ) -> RowLosses:
        """Losses in the parameters' dtype, with dropout."""
        features_key, dropout_key = jax.random.split(key)
        batch = self._masked(batch, features_key)
        row_keys = _row_keys(dropout_key, batch)
        dtype = jax.tree.leaves(params)[0].dtype
        batch = dataclasses.replace(batch, features=batch.features.astype(dtype))
        return self._losses(self._float, {"params": params}, batch, row_keys)

    def aware_loss(
        self, params: PyTree, quant_stats: PyTree, batch: AudioBatch | Batch, key: PRNGKey
    ) -> RowLosses:
        """Losses through the accelerator's arithmetic, with dropout on its grids."""
        features_key, dropout_key = jax.random.split(key)
        batch = self._masked(batch, features_key)
        row_keys = _row_keys(dropout_key, batch)
        return self._losses(self._aware, self.variables(params, quant_stats), batch, row_keys)

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

    def _losses(
        self,
        model: RNNT,
        variables: PyTree,
        batch: Batch,
        row_keys: PRNGKey,
    ) -> RowLosses:
        lattice: Any = model.apply(variables, *_model_inputs(batch), row_keys)
        head, encoded, predicted = lattice.head.on_lattice(lattice.encoded, lattice.predicted)
        loss = transducer_loss_factored(
            head,
            encoded,
            predicted,
            lattice.encoded_lengths,
            batch.labels,
            batch.label_lengths,
            chunk_frames=self._loss.chunk_frames,
            fastemit_lambda=self._loss.fastemit_lambda,
        )
        if self._loss.ctc_weight:
            loss += self._loss.ctc_weight * ctc_loss(
                lattice.ctc_logits, lattice.encoded_lengths, batch.labels, batch.label_lengths
            )
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
        )

    def _evaluate(
        self, evaluators: Sequence[StreamingEvaluator], diagnose: Diagnose | None = None
    ) -> Callable[[PyTree, PyTree], dict[str, float]] | None:
        """Metrics of all test sets, and their mean WER under the name that selects."""
        if not evaluators:
            return None

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
