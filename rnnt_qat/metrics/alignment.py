"""Minimal alignments of hypotheses to references, unit by unit."""

import dataclasses
from collections.abc import Iterator, Sequence

import jiwer

from rnnt_qat.metrics.wer import comparable

_LETTERS = {"equal": "e", "substitute": "s", "delete": "d", "insert": "i"}


@dataclasses.dataclass(frozen=True)
class Alignment:
    """An alignment of a hypothesis to its reference.

    Attributes:
      reference: units of the reference (words or characters).
      hypothesis: units of the hypothesis.
      operations: one letter per edit, in order: ``e`` equal, ``s`` substitute, ``d`` delete,
        ``i`` insert.
    """

    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]
    operations: str

    def pairs(self) -> Iterator[tuple[str, str, str]]:
        """Yields ``(operation, reference unit, hypothesis unit)``; a missing unit is empty."""
        reference, hypothesis = iter(self.reference), iter(self.hypothesis)
        for operation in self.operations:
            said = "" if operation == "i" else next(reference)
            recognized = "" if operation == "d" else next(hypothesis)
            yield operation, said, recognized


def align_words(references: Sequence[str], hypotheses: Sequence[str]) -> list[Alignment]:
    """Aligns words, with the edits that ``word_errors`` counts."""
    return _aligned(jiwer.process_words, references, hypotheses)


def align_characters(references: Sequence[str], hypotheses: Sequence[str]) -> list[Alignment]:
    """Aligns characters, with the edits that ``character_errors`` counts."""
    return _aligned(jiwer.process_characters, references, hypotheses)


def _aligned(process, references: Sequence[str], hypotheses: Sequence[str]) -> list[Alignment]:
    if not references:
        return []
    output = process([*map(comparable, references)], [*map(comparable, hypotheses)])
    found = []
    for reference, hypothesis, chunks in zip(
        output.references, output.hypotheses, output.alignments, strict=True
    ):
        operations = "".join(
            _LETTERS[chunk.type]
            * max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
            for chunk in chunks
        )
        found.append(Alignment(tuple(reference), tuple(hypothesis), operations))
    return found
