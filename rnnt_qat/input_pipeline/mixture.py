"""Mixture of several corpora, each with a number of repeats per epoch."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from rnnt_qat.typing import Int


class SpeechSource(Protocol):
    """Interface of a corpus split: lengths and texts without decoding, audio on demand."""

    texts: list[str]
    ids: list[str]
    num_samples: Int[np.ndarray, "E"]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any:
        """Returns an utterance; its ``audio`` is int16 ``[num_samples[index]]``."""


class Mixture:
    """A concatenation of corpora; the index of an utterance is its position in it.

    Attributes:
      texts: transcript of each utterance.
      ids: id of each utterance.
      num_samples: audio length of each utterance in samples.
      repeats: number of times that each utterance occurs in an epoch of training.
    """

    def __init__(self, sources: Sequence[SpeechSource], repeats: Sequence[int] | None = None):
        """Concatenates corpora.

        Args:
          sources: the corpora.
          repeats: positive integer for each corpus; None is 1 for all.

        Raises:
          ValueError: the numbers do not match or are not positive integers.
        """
        repeats = [1] * len(sources) if repeats is None else list(repeats)
        if not sources or len(repeats) != len(sources):
            raise ValueError(f"{len(sources)} corpora need as many repeats, got {repeats}")
        if any(int(r) != r or r < 1 for r in repeats):
            raise ValueError(f"repeats must be positive whole numbers, got {repeats}")
        self._sources = list(sources)
        self._ends = np.cumsum([len(source) for source in sources])
        self.texts = [text for source in sources for text in source.texts]
        self.ids = [utterance_id for source in sources for utterance_id in source.ids]
        self.num_samples = np.concatenate([source.num_samples for source in sources])
        self.repeats = np.repeat(repeats, [len(source) for source in sources])

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> Any:
        index = range(len(self))[index]
        which = int(np.searchsorted(self._ends, index, side="right"))
        return self._sources[which][index - int(self._ends[which]) + len(self._sources[which])]
