"""Strings of digits, and how single digits become one recording."""

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Int16

from data.synthetic_speech.plan import TEST_FRACTION, VALIDATION_FRACTION
from data.synthetic_speech.sentences import split_of
from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ

LENGTHS = range(3, 9)
"""Digits in a string."""

PAUSE_S = 0.01, 0.2
"""Least and most silence between two digits."""

EDGE_S = 0.05, 0.3
"""Least and most silence before and after a string."""


def draw_strings(
    digits: Sequence[str], split: str, number: int, rng: random.Random
) -> Iterator[tuple[str, ...]]:
    """Draws strings that belong to a split by a hash of their text, as synthetic sentences do.

    So no string that is tested is trained on, here or in ``synthetic_speech``.

    Args:
      digits: words to choose from.
      split: ``train``, ``validation`` or ``test``.
      number: strings.
      rng: of the draws.
    """
    while number:
        string = tuple(rng.choices(digits, k=rng.choice(LENGTHS)))
        if split_of(" ".join(string), VALIDATION_FRACTION, TEST_FRACTION) == split:
            number -= 1
            yield string


@dataclasses.dataclass(frozen=True)
class JoinedDigits:
    """Digits one after the other; picklable and called without arguments.

    Attributes:
      digits: decode a digit each.
      silences: samples of silence before each digit and after the last.
    """

    digits: tuple[Callable[[], Int16[np.ndarray, " N"]], ...]
    silences: tuple[int, ...]

    @classmethod
    def draw(
        cls, digits: Sequence[Callable[[], Int16[np.ndarray, " N"]]], rng: random.Random
    ) -> "JoinedDigits":
        """Draws the silences."""
        ranges = [EDGE_S, *[PAUSE_S] * (len(digits) - 1), EDGE_S]
        silences = (round(rng.uniform(*bounds) * SAMPLE_RATE_HZ) for bounds in ranges)
        return cls(tuple(digits), tuple(silences))

    def __call__(self) -> Int16[np.ndarray, " N"]:
        """The samples; raises `SkipError` where a digit does not decode."""
        pieces = [np.zeros(self.silences[0], np.int16)]
        for decode, silence in zip(self.digits, self.silences[1:], strict=True):
            pieces += [decode(), np.zeros(silence, np.int16)]
        return np.concatenate(pieces)
