"""Subset of the utterances of a corpus split."""

from collections.abc import Iterable, Set

import numpy as np

from rnnt_qat.input_pipeline.corpus import Corpus, Utterance
from rnnt_qat.typing import Int


class SelectedUtterances:
    """A subset of the utterances of a corpus split.

    Attributes:
      texts: transcript of each utterance.
      ids: id of each utterance.
      speakers: speaker of each utterance.
      num_samples: audio length of each utterance in samples.
      sample_rate_hz: sample rate of the audio.
    """

    num_samples: Int[np.ndarray, "E"]

    def __init__(self, corpus: Corpus, positions: Iterable[int]):
        """Selects the utterances at ``positions``, in that order."""
        self._corpus = corpus
        self._positions = list(positions)
        self.texts = [corpus.texts[i] for i in self._positions]
        self.ids = [corpus.ids[i] for i in self._positions]
        self.speakers = [corpus.speakers[i] for i in self._positions]
        self.num_samples = corpus.num_samples[self._positions]
        self.sample_rate_hz = corpus.sample_rate_hz

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> Utterance:
        return self._corpus[self._positions[index]]


def without_texts(corpus: Corpus, texts: Set[str]) -> SelectedUtterances:
    """Selects the utterances whose whole transcript is not in ``texts``."""
    return SelectedUtterances(
        corpus, (i for i, text in enumerate(corpus.texts) if text not in texts)
    )
