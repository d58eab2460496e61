"""Some utterances of a corpus or a mixture."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnt_qat.input_pipeline.corpus import Corpus
from rnnt_qat.input_pipeline.mixture import SpeechSource


class Chosen:
    """Utterances of a source by their positions; implements ``mixture.SpeechSource``.

    Attributes:
      positions: positions of the utterances in the source.
      texts: transcript of each.
      ids: id of each.
      num_samples: audio length of each in samples.
    """

    def __init__(self, source: SpeechSource, positions: Sequence[int]):
        """Chooses utterances.

        Args:
          source: the corpus or mixture.
          positions: positions in it.
        """
        self._source, self.positions = source, tuple(positions)
        self.texts = [source.texts[i] for i in self.positions]
        self.ids = [source.ids[i] for i in self.positions]
        self.num_samples = np.asarray(source.num_samples)[list(self.positions)]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Any:
        return self._source[self.positions[index]]


def sampled(source: SpeechSource, max_samples: float, seed: int = 0) -> Chosen:
    """Returns utterances in random order until there is no room for the next one.

    Args:
      source: a corpus or mixture.
      max_samples: largest number of samples of all.
      seed: of the order.
    """
    order = np.random.default_rng(seed).permutation(len(source))
    ends = np.cumsum(np.asarray(source.num_samples)[order])
    return Chosen(source, order[: int(np.searchsorted(ends, max_samples, side="right"))].tolist())


def divided(
    corpus: Corpus, seconds: float, speaker: str = "", seed: int = 0
) -> tuple[Chosen, Chosen]:
    """Divides the utterances of a speaker into some to adapt to and the others, at random.

    Args:
      corpus: the utterances.
      seconds: speech to adapt to, at most.
      speaker: name of the speaker; empty for all.
      seed: of the random order.

    Raises:
      ValueError: there is no such speaker, or the first utterance is longer.
    """
    own = Chosen(corpus, [i for i, name in enumerate(corpus.speakers) if speaker in ("", name)])
    if not len(own):
        raise ValueError(f"{corpus!r} has no speaker {speaker!r}")
    first = {
        own.positions[i] for i in sampled(own, seconds * corpus.sample_rate_hz, seed).positions
    }
    if not first:
        raise ValueError(f"the first utterance is longer than {seconds:g} s")
    rest = [i for i in own.positions if i not in first]
    return Chosen(corpus, sorted(first)), Chosen(corpus, rest)
