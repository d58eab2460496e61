"""Where sentences come from, and which split a sentence belongs to."""

import dataclasses
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from data.synthetic_speech.grammar import PROMPT_GRAMMAR_PATH, Grammar
from data.text import normalise


@dataclasses.dataclass(frozen=True)
class Sentence:
    """What a synthesizer reads and what a recognizer should write.

    Attributes:
      spoken: words with the punctuation that phrases them; a lone capital is a letter's name.
      text: normalised transcript.
    """

    spoken: str
    text: str

    @classmethod
    def from_spoken(cls, spoken: str) -> "Sentence":
        """Normalises `spoken`; raises `SkipError` where it has no single reading."""
        return cls(spoken, normalise(spoken))


class TextSource(Protocol):
    """Draws sentences."""

    def sentences(self, rng: random.Random) -> Iterator[Sentence]:
        """Sentences without end; they repeat once a finite source is used up."""

    def fingerprint(self) -> dict[str, Any]:
        """What the sentences are made from, as JSON."""


class GrammarTexts:
    """Sentences of a grammar: ``prompts.grammar``, ``digits.grammar``, ``commands.grammar``."""

    def __init__(self, path: Path = PROMPT_GRAMMAR_PATH):
        self._path = path
        self._grammar = Grammar.from_file(path)

    def sentences(self, rng: random.Random) -> Iterator[Sentence]:
        """See `TextSource`."""
        return map(Sentence.from_spoken, self._grammar.sentences(rng))

    def fingerprint(self) -> dict[str, Any]:
        """The grammar's checksum."""
        return {"grammar_sha256": hashlib.sha256(self._path.read_bytes()).hexdigest()}


def split_of(text: str, validation_fraction: float, test_fraction: float) -> str:
    """The split that a sentence belongs to, by a hash of its transcript alone."""
    draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
    if draw < test_fraction:
        return "test"
    return "validation" if draw < test_fraction + validation_fraction else "train"
