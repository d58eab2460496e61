"""Word and character error rates, counted an utterance at a time and summed over a corpus.

An empty reference has no rate of its own, but what was recognised in it counts: its words are
insertions in the corpus' sum. Only a corpus without a single reference word has no rate.
"""

import dataclasses
import unicodedata
from collections.abc import Iterable, Sequence

import jiwer


@dataclasses.dataclass(frozen=True)
class ErrorCounts:
    """Edits of a minimal alignment of hypothesis to reference; counts of a corpus add up.

    Attributes:
      substitutions: units replaced.
      deletions: units of the reference that are missing.
      insertions: units that the reference does not have.
      reference_length: units of the reference.
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference_length: int = 0

    @property
    def errors(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per unit of the reference, at least 0 and maybe above 1.

        Raises:
          ValueError: no reference holds a single unit.
        """
        if self.reference_length == 0:
            raise ValueError("no error rate: the references hold no word; is the right text given?")
        return self.errors / self.reference_length

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        mine, others = dataclasses.astuple(self), dataclasses.astuple(other)
        return ErrorCounts(*(a + b for a, b in zip(mine, others, strict=True)))

    @staticmethod
    def total(counts: Iterable["ErrorCounts"]) -> "ErrorCounts":
        """Sum over a corpus."""
        return sum(counts, ErrorCounts())


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> list[ErrorCounts]:
    """Word errors of each utterance; words are separated by white space of any kind.

    Raises:
      ValueError: the two sequences differ in length.
    """
    return _errors(jiwer.process_words, references, hypotheses)


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> list[ErrorCounts]:
    """Character errors of each utterance; a run of white space is one character.

    Raises:
      ValueError: the two sequences differ in length.
    """
    return _errors(jiwer.process_characters, references, hypotheses)


def _errors(process, references: Sequence[str], hypotheses: Sequence[str]) -> list[ErrorCounts]:
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    if not references:
        return []
    aligned = process([*map(_comparable, references)], [*map(_comparable, hypotheses)])
    return [
        _count(len(reference), alignment)
        for reference, alignment in zip(aligned.references, aligned.alignments, strict=True)
    ]


def _comparable(text: str) -> str:
    """The text with one space between words, which is all that jiwer parts words at.

    Accented letters are composed: however they are encoded, they are the same letters.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def _count(reference_length: int, alignment) -> ErrorCounts:
    edits = {"substitute": 0, "delete": 0, "insert": 0, "equal": 0}
    for chunk in alignment:
        edits[chunk.type] += max(
            chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
        )
    return ErrorCounts(edits["substitute"], edits["delete"], edits["insert"], reference_length)
