"""Some utterances of a corpus split."""

from collections.abc import Iterable, Set

import numpy as np

from rnnt_qat.input_pipeline.corpus import Corpus, Utterance
from rnnt_qat.typing import Int


class SelectedUtterances:
    """A corpus split without some of its utterances.

    Attributes:
      texts: transcripts.
      ids: utterance ids.
      speakers: who speaks.
      num_samples: audio lengths.
      sample_rate_hz: rate of the audio.
    """

    num_samples: Int[np.ndarray, "E"]

    def __init__(self, corpus: Corpus, positions: Iterable[int]):
        """Takes the utterances at ``positions``, in that order."""
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
    """The utterances whose whole transcript is none of ``texts``."""
    return SelectedUtterances(
        corpus, (i for i, text in enumerate(corpus.texts) if text not in texts)
    )
