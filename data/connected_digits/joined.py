"""Random digit strings, and their audio as a concatenation of single digits."""

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Int16

from data.synthetic_speech.plan import TEST_FRACTION, VALIDATION_FRACTION
from data.synthetic_speech.sentences import split_of
from rnnt_qat.input_pipeline.corpus import SAMPLE_RATE_HZ

LENGTHS = range(3, 9)
"""Range of the number of digits in a string."""

PAUSE_S = 0.01, 0.2
"""Range of the silence between two digits in seconds."""

EDGE_S = 0.05, 0.3
"""Range of the silence before and after a string in seconds."""


def draw_strings(
    digits: Sequence[str], split: str, number: int, rng: random.Random
) -> Iterator[tuple[str, ...]]:
    """Draws strings of a split, to which they belong by a hash of their text.

    ``synthetic_speech`` uses the same hash, so no test string occurs in training in either corpus.

    Args:
      digits: words to choose from.
      split: ``train``, ``validation`` or ``test``.
      number: number of strings.
      rng: random generator.
    """
    while number:
        string = tuple(rng.choices(digits, k=rng.choice(LENGTHS)))
        if split_of(" ".join(string), VALIDATION_FRACTION, TEST_FRACTION) == split:
            number -= 1
            yield string


@dataclasses.dataclass(frozen=True)
class JoinedDigits:
    """Concatenation of digits; picklable and called without arguments.

    Attributes:
      digits: functions that decode one digit each.
      silences: samples of silence before each digit and after the last.
    """

    digits: tuple[Callable[[], Int16[np.ndarray, " N"]], ...]
    silences: tuple[int, ...]

    @classmethod
    def draw(
        cls, digits: Sequence[Callable[[], Int16[np.ndarray, " N"]]], rng: random.Random
    ) -> "JoinedDigits":
        """Draws the silences around the digits."""
        ranges = [EDGE_S, *[PAUSE_S] * (len(digits) - 1), EDGE_S]
        silences = (round(rng.uniform(*bounds) * SAMPLE_RATE_HZ) for bounds in ranges)
        return cls(tuple(digits), tuple(silences))

    def __call__(self) -> Int16[np.ndarray, " N"]:
        """Returns the samples.

        Raises:
          SkipError: a digit cannot be decoded.
        """
        pieces = [np.zeros(self.silences[0], np.int16)]
        for decode, silence in zip(self.digits, self.silences[1:], strict=True):
            pieces += [decode(), np.zeros(silence, np.int16)]
        return np.concatenate(pieces)
