"""Sources of sentences, and the assignment of sentences to splits."""

import dataclasses
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from data.synthetic_speech.grammar import PROMPT_GRAMMAR_PATH, Grammar
from data.text import normalise

PAUSE = " / "
"""Mark between parts of a sentence that are spoken on their own, with silence between them."""


@dataclasses.dataclass(frozen=True)
class Sentence:
    """The input of a synthesizer and the transcript.

    Attributes:
      spoken: words with punctuation for phrasing; a single capital letter is the name of the
        letter, and `PAUSE` separates what is spoken on its own.
      text: normalised transcript.
    """

    spoken: str
    text: str

    @classmethod
    def from_spoken(cls, spoken: str) -> "Sentence":
        """Normalises `spoken`; raises `SkipError` if it has several readings."""
        return cls(spoken, normalise(spoken.replace(PAUSE, " ")))


class TextSource(Protocol):
    """Draws sentences."""

    def sentences(self, rng: random.Random) -> Iterator[Sentence]:
        """Yields sentences forever; a finite source repeats them."""

    def fingerprint(self) -> dict[str, Any]:
        """Describes the source as JSON data."""


class GrammarTexts:
    """Sentences of a grammar, one of `GRAMMARS`."""

    def __init__(self, path: Path = PROMPT_GRAMMAR_PATH):
        self._path = path
        self._grammar = Grammar.from_file(path)

    def sentences(self, rng: random.Random) -> Iterator[Sentence]:
        """See `TextSource`."""
        return map(Sentence.from_spoken, self._grammar.sentences(rng))

    def fingerprint(self) -> dict[str, Any]:
        """Returns the checksum of the grammar."""
        return {"grammar_sha256": hashlib.sha256(self._path.read_bytes()).hexdigest()}


def split_of(text: str, validation_fraction: float, test_fraction: float) -> str:
    """Returns the split of a sentence, by a hash of its transcript alone.

    Args:
      text: transcript.
      validation_fraction: fraction of all sentences for validation.
      test_fraction: fraction of all sentences for test.
    """
    draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
    if draw < test_fraction:
        return "test"
    return "validation" if draw < test_fraction + validation_fraction else "train"
