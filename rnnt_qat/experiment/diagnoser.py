"""Diagnostics of a model's arithmetic on real utterances, during and after training."""

import itertools
import operator
import pathlib
from collections.abc import Callable, Iterable

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
    """Diagnostics of a model with any variables, on fixed utterances with known labels.

    Args:
      config: architecture of the model.
      policy: precision policy of the model.
      frontend: computes features from audio.
      batches: utterances; batches of one shape share a compiled program.
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

    def __call__(
        self,
        variables: PyTree,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Diagnosis]:
        """Returns one row per operator of each layer.

        Args:
          variables: variables of the model; global arrays are fetched to this process.
          progress: called with the numbers of finished and of all batches.
        """
        total, variables = None, to_host(variables)
        for done, batch in enumerate(self._batches, 1):
            tallies = jax.block_until_ready(self._tally(variables, batch))
            total = tallies if total is None else _add(total, tallies)
            progress(done, len(self._batches))
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
    """Returns the first batches of a split, the same on every process.

    Args:
      config: the experiment, for its frontend and pipeline.
      tokenizer: encodes the transcripts.
      split: part of a corpus.
      data_dir: folder of the prepared corpora.
      num_batches: number of batches.
    """
    rate_hz = config.frontend.log_mel.sample_rate_hz
    corpus = open_corpus(data_dir, split.corpus, split.split, rate_hz)
    batches = EvalBatches(corpus, tokenizer, config.frontend, config.pipeline)
    return list(itertools.islice(batches, num_batches))
