"""Word and character error rates, counted per utterance and summed over a corpus.

An empty reference has no error rate of its own, but words recognised in it count as insertions in
the sum of the corpus. Only a corpus without any reference word has no error rate.
"""

import dataclasses
import unicodedata
from collections.abc import Iterable, Sequence

import jiwer


@dataclasses.dataclass(frozen=True)
class ErrorCounts:
    """Edit counts of a minimal alignment of a hypothesis to its reference; additive over a corpus.

    Attributes:
      substitutions: replaced units (words or characters).
      deletions: reference units missing in the hypothesis.
      insertions: hypothesis units that are not in the reference.
      reference_length: units of the reference.
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference_length: int = 0

    @property
    def errors(self) -> int:
        """Total number of edits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference unit; may exceed 1.

        Raises:
          ValueError: the references contain no units.
        """
        if self.reference_length == 0:
            raise ValueError("no error rate: the references hold no word; is the right text given?")
        return self.errors / self.reference_length

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        mine, others = dataclasses.astuple(self), dataclasses.astuple(other)
        return ErrorCounts(*(a + b for a, b in zip(mine, others, strict=True)))

    @staticmethod
    def total(counts: Iterable["ErrorCounts"]) -> "ErrorCounts":
        """Sums the counts of a corpus."""
        return sum(counts, ErrorCounts())


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> list[ErrorCounts]:
    """Counts the word errors of each utterance; any white space separates words.

    Args:
      references: reference transcript of each utterance.
      hypotheses: recognized transcript of each utterance.

    Raises:
      ValueError: the two sequences differ in length.
    """
    return _errors(jiwer.process_words, references, hypotheses)


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> list[ErrorCounts]:
    """Counts the character errors of each utterance; a run of white space is one character.

    Args:
      references: reference transcript of each utterance.
      hypotheses: recognized transcript of each utterance.

    Raises:
      ValueError: the two sequences differ in length.
    """
    return _errors(jiwer.process_characters, references, hypotheses)


def _errors(process, references: Sequence[str], hypotheses: Sequence[str]) -> list[ErrorCounts]:
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    if not references:
        return []
    aligned = process([*map(comparable, references)], [*map(comparable, hypotheses)])
    return [
        _count(len(reference), alignment)
        for reference, alignment in zip(aligned.references, aligned.alignments, strict=True)
    ]


def comparable(text: str) -> str:
    """Normalizes white space to single spaces, the only separator that jiwer splits words at.

    Accented letters are composed (NFC), so that different encodings of a letter compare equal.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def _count(reference_length: int, alignment) -> ErrorCounts:
    edits = {"substitute": 0, "delete": 0, "insert": 0, "equal": 0}
    for chunk in alignment:
        edits[chunk.type] += max(
            chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
        )
    return ErrorCounts(edits["substitute"], edits["delete"], edits["insert"], reference_length)
