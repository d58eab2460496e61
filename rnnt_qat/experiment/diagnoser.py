"""Diagnostics of variables over real utterances, in training and after it."""

import itertools
import operator
import pathlib
from collections.abc import Iterable

import jax

from rnnt_qat.batch import AudioBatch
from rnnt_qat.experiment.config import ExperimentConfig, Split
from rnnt_qat.frontend.frontend import Frontend
from rnnt_qat.infra.mesh import to_host
from rnnt_qat.input_pipeline.corpus import open_corpus
from rnnt_qat.input_pipeline.eval_batches import EvalBatches
from rnnt_qat.input_pipeline.tokenizer import Tokenizer
from rnnt_qat.models.rnnt import RNNT, RNNTConfig
from rnnt_qat.quant.diagnostics import DIAGNOSTICS, Diagnosis, Tally, summarize
from rnnt_qat.quant.policy import PrecisionPolicy
from rnnt_qat.typing import PyTree


class Diagnoser:
    """Diagnoses any variables of a model on the same utterances, labels known.

    Args:
      config: the model's sizes.
      policy: the arithmetic.
      frontend: audio to features.
      batches: utterances; those of one shape share a program.
    """

    def __init__(
        self,
        config: RNNTConfig,
        policy: PrecisionPolicy,
        frontend: Frontend,
        batches: Iterable[AudioBatch],
    ):
        self._policy, self._frontend = policy, frontend
        self._batches = tuple(batches)
        self._model = RNNT(config, policy.diagnosis())
        self._tally = jax.jit(self._noted)

    def __call__(self, variables: PyTree) -> list[Diagnosis]:
        """A row an operator of each layer; global arrays come to this process."""
        total, variables = None, to_host(variables)
        for batch in self._batches:
            tallies = self._tally(variables, batch)
            total = tallies if total is None else _add(total, tallies)
        return summarize(jax.device_get(total), self._policy)

    def _noted(self, variables: PyTree, audio: AudioBatch) -> PyTree:
        batch = self._frontend.batch(audio)
        inputs = batch.features, batch.feature_lengths, batch.labels, batch.label_lengths
        return self._model.apply(variables, *inputs, mutable=[DIAGNOSTICS])[1][DIAGNOSTICS]


def _add(a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(operator.add, a, b, is_leaf=lambda x: isinstance(x, Tally))


def utterances(
    config: ExperimentConfig,
    tokenizer: Tokenizer,
    split: Split,
    data_dir: pathlib.Path,
    num_batches: int,
) -> list[AudioBatch]:
    """The first batches of a split, the same on every process."""
    rate_hz = config.frontend.log_mel.sample_rate_hz
    corpus = open_corpus(data_dir, split.corpus, split.split, rate_hz)
    batches = EvalBatches(corpus, tokenizer, config.frontend, config.pipeline)
    return list(itertools.islice(batches, num_batches))
