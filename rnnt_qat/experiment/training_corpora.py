"""The training corpora of an experiment: mixture, tokenizer, feature statistics."""

import functools
import pathlib

import jax
import numpy as np
from jax.experimental import multihost_utils

from rnnt_qat.experiment.config import ExperimentConfig, Split
from rnnt_qat.frontend.statistics import FeatureStats, measure_stats
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.progress import Progress
from rnnt_qat.input_pipeline.corpus import Corpus, open_corpus
from rnnt_qat.input_pipeline.joined import JoinedUtterances
from rnnt_qat.input_pipeline.mixture import Mixture, SpeechSource
from rnnt_qat.input_pipeline.selected import SelectedUtterances, without_texts
from rnnt_qat.input_pipeline.tokenizer import (
    CharacterTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
)


class TrainingCorpora:
    """The training corpora of an experiment, opened when they are first needed.

    Args:
      config: the experiment's config.
      data_dir: folder of the prepared corpora.
      console: output of progress lines.
    """

    def __init__(self, config: ExperimentConfig, data_dir: pathlib.Path, console: Console):
        self._config, self._data_dir, self._console = config, data_dir, console

    @functools.cached_property
    def mixture(self) -> Mixture:
        """All training utterances, without those whose transcript is held out."""
        splits = self._config.data.train
        return Mixture([self._source(s) for s in splits], [s.repeats for s in splits])

    def new_tokenizer(self) -> Tokenizer:
        """Returns a tokenizer of characters, or of units trained on the transcripts."""
        units = self._config.data.sentencepiece
        if units:
            return SentencePieceTokenizer.train(self.mixture.texts, units)
        return CharacterTokenizer(self._config.data.characters)

    def measure_stats(self) -> FeatureStats:
        """Measures feature statistics on randomly chosen utterances; equal on all processes."""
        rng = np.random.default_rng(self._config.seed)
        order = rng.permutation(len(self.mixture))
        chosen = order[: self._config.data.statistics_utterances]
        with Progress("feature statistics", self._console, unit="recordings") as progress:
            stats = measure_stats(
                (self.mixture[int(i)].audio for i in progress.each(chosen, len(chosen))),
                self._config.frontend.log_mel,
            )
        if jax.process_count() > 1:
            stats = multihost_utils.broadcast_one_to_all(stats)
        return stats

    def _source(self, split: Split) -> SpeechSource:
        rate_hz = self._config.frontend.log_mel.sample_rate_hz
        corpus = open_corpus(self._data_dir, split.corpus, split.split, rate_hz)
        source: Corpus | SelectedUtterances = corpus
        if self._held_out_texts:
            source = without_texts(corpus, self._held_out_texts)
            if left_out := len(corpus) - len(source):
                self._console.say(
                    f"{split.name}: {left_out} of {len(corpus)} utterances say what is held out"
                )
        return JoinedUtterances(source, split.joined_seconds) if split.joined_seconds else source

    @functools.cached_property
    def _held_out_texts(self) -> frozenset[str]:
        """The transcripts that no training utterance may have."""
        held_out = self._config.data.held_out
        corpora = (open_corpus(self._data_dir, s.corpus, s.split) for s in held_out)
        return frozenset(text for corpus in corpora for text in corpus.texts)
