"""Short utterances joined into long ones, so that training has the lengths that will be met."""

import collections
import dataclasses

import numpy as np

from rnnt_qat.input_pipeline.corpus import Corpus, Utterance
from rnnt_qat.input_pipeline.selected import SelectedUtterances

PAUSE_SECONDS = 0.1, 0.6
"""Range of the silence between two utterances."""


class JoinedUtterances:
    """A corpus split in which each utterance is several of one speaker, one after the other.

    Every utterance of the corpus is in exactly one joined one; which go together is drawn once.

    Attributes:
      texts: transcripts, joined by spaces.
      ids: of the first utterance of each, and how many follow it.
      num_samples: audio lengths, pauses included.
    """

    def __init__(self, corpus: Corpus | SelectedUtterances, longest_seconds: float, seed: int = 0):
        """Draws the groups.

        Args:
          corpus: the split.
          longest_seconds: a joined utterance's length is drawn up to this; an utterance that is
            longer stays alone.
          seed: of the grouping.
        """
        if longest_seconds <= 0:
            raise ValueError(f"joined to {longest_seconds} s: the length must be positive")
        self._corpus = corpus
        rng = np.random.default_rng(seed)
        self._groups: list[list[int]] = []
        self._pauses: list[np.ndarray] = []
        by_speaker: dict[str, list[int]] = collections.defaultdict(list)
        for index, speaker in enumerate(corpus.speakers):
            by_speaker[speaker].append(index)
        for _, own in sorted(by_speaker.items()):
            self._join(rng.permutation(own).tolist(), longest_seconds, rng)
        self.texts = [" ".join(corpus.texts[i] for i in group) for group in self._groups]
        self.ids = [f"{corpus.ids[group[0]]}+{len(group) - 1}" for group in self._groups]
        self.num_samples = np.array(
            [
                corpus.num_samples[group].sum() + pauses.sum()
                for group, pauses in zip(self._groups, self._pauses, strict=True)
            ],
            np.int64,
        )

    def _join(self, order: list[int], longest_seconds: float, rng: np.random.Generator) -> None:
        group: list[int] = []
        pauses: list[int] = []
        room = 0.0
        for index in order:
            pause = round(rng.uniform(*PAUSE_SECONDS) * self._corpus.sample_rate_hz)
            length = int(self._corpus.num_samples[index])
            if group and pause + length > room:
                self._close(group, pauses)
                group, pauses = [], []
            if group:
                pauses.append(pause)
                room -= pause + length
            else:
                room = rng.uniform(0, longest_seconds) * self._corpus.sample_rate_hz - length
            group.append(index)
        self._close(group, pauses)

    def _close(self, group: list[int], pauses: list[int]) -> None:
        self._groups.append(group)
        self._pauses.append(np.array(pauses, np.int64))

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> Utterance:
        group, pauses = self._groups[index], self._pauses[index]
        parts = [self._corpus[i] for i in group]
        pieces = [parts[0].audio]
        for part, pause in zip(parts[1:], pauses, strict=True):
            pieces += [np.zeros(pause, np.int16), part.audio]
        return dataclasses.replace(
            parts[0], id=self.ids[index], text=self.texts[index], audio=np.concatenate(pieces)
        )
