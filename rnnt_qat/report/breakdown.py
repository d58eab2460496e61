"""Where the errors are: by length, speaker, signal-to-noise ratio, and by confused pair."""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

from rnnt_qat.evaluation.result import EvaluationResult, UtteranceResult
from rnnt_qat.metrics.alignment import Alignment
from rnnt_qat.metrics.wer import ErrorCounts
from rnnt_qat.report.recordings import Recording

LENGTHS_S = (0, 1, 2, 3, 4, 6, 8, 12, 20)
"""Lower ends of the classes of length in seconds."""
SNRS_DB = (0, 5, 10, 15, 20, 25, 30, 40, 50)
"""Lower ends of the classes of signal-to-noise ratio in dB."""


@dataclasses.dataclass(frozen=True)
class Class:
    """Errors in one class of utterances.

    Attributes:
      name: name of the class.
      utterances: number of utterances.
      words: counts of word errors.
    """

    name: str
    utterances: int
    words: ErrorCounts


def by_length(result: EvaluationResult) -> list[Class]:
    """Classes of duration, shortest first, without empty ones."""
    return _classes(result, lambda u: _range(u.audio_s, LENGTHS_S, "s"), _ranges(LENGTHS_S, "s"))


def by_snr(
    result: EvaluationResult, recordings: Mapping[tuple[str, str], Recording]
) -> list[Class]:
    """Classes of estimated signal-to-noise ratio, noisiest first, without empty ones."""
    return _classes(
        result,
        lambda u: _range(recordings[result.test_set, u.id].snr_db, SNRS_DB, "dB"),
        _ranges(SNRS_DB, "dB"),
    )


def by_speaker(
    result: EvaluationResult, recordings: Mapping[tuple[str, str], Recording]
) -> list[Class]:
    """Speakers, the one with the most utterances first."""
    speakers = [recordings[result.test_set, u.id].speaker for u in result.utterances]
    order = [name for name, _ in collections.Counter(speakers).most_common()]
    return _classes(result, lambda u: recordings[result.test_set, u.id].speaker, order)


def confusions(alignments: Sequence[Alignment], most: int = 40) -> list[tuple[str, str, int]]:
    """Counts the edits of aligned units.

    Args:
      alignments: alignments of a test set.
      most: number of edits to return.

    Returns:
      ``(reference unit, hypothesis unit, count)``, the most frequent first; a missing unit is
      empty, so deletions and insertions are included.
    """
    counts = collections.Counter(
        (said, recognized)
        for alignment in alignments
        for operation, said, recognized in alignment.pairs()
        if operation != "e"
    )
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(said, recognized, count) for (said, recognized), count in ranked[:most]]


def _classes(
    result: EvaluationResult, class_of: Callable[[UtteranceResult], str], order: Sequence[str]
) -> list[Class]:
    members: dict[str, list[ErrorCounts]] = {name: [] for name in order}
    for utterance in result.utterances:
        members[class_of(utterance)].append(utterance.words)
    return [
        Class(name, len(counts), ErrorCounts.total(counts))
        for name, counts in members.items()
        if counts
    ]


def _ranges(edges: Sequence[int], unit: str) -> list[str]:
    ends = [f"{low}-{high} {unit}" for low, high in itertools.pairwise(edges)]
    return [*ends, f"over {edges[-1]} {unit}"]


def _range(value: float, edges: Sequence[int], unit: str) -> str:
    return _ranges(edges, unit)[sum(value >= edge for edge in edges[1:])]
