"""Splits of a corpus by speaker: test speakers do not occur in training."""

import hashlib
import sys
from collections.abc import Iterable, Sequence

from data.corpus import Recording
from rnnt_qat.input_pipeline.corpus import CorpusError

TEST_FRACTION, VALIDATION_FRACTION = 0.2, 0.07

_FEWEST_SPEAKERS = 3

NOBODY = ("none",)
"""Value of the test or validation speakers that disables the split."""


def split_speakers(
    speakers: set[str], test: Sequence[str] = (), validation: Sequence[str] = ()
) -> dict[str, str]:
    """Assigns speakers to splits, depending only on their names.

    Args:
      speakers: all speakers.
      test: test speakers; empty selects about a fifth, at least one; `NOBODY` disables the split.
      validation: validation speakers; empty selects about a fifteenth, at least one; `NOBODY`
        disables the split.

    Returns:
      Speaker -> "train", "validation" or "test".

    Raises:
      CorpusError: a named speaker does not exist or is named for both splits, or no speaker is left
        for training.
    """
    named_test = () if tuple(test) == NOBODY else tuple(test)
    named_validation = () if tuple(validation) == NOBODY else tuple(validation)
    unknown = {*named_test, *named_validation} - speakers
    twice = set(named_test) & set(named_validation)
    if unknown or twice:
        raise CorpusError(
            f"speakers not in the folder: {sorted(unknown) or 'none'}; named for both validation "
            f"and test: {sorted(twice) or 'none'}; there are {', '.join(sorted(speakers))}"
        )
    left = sorted(
        speakers - {*named_test, *named_validation},
        key=lambda name: hashlib.sha256(name.encode()).digest(),
    )
    if not test:
        number = max(1, round(TEST_FRACTION * len(speakers)))
        named_test, left = tuple(left[:number]), left[number:]
    if not validation:
        number = max(1, round(VALIDATION_FRACTION * len(speakers)))
        named_validation, left = tuple(left[:number]), left[number:]
    if not left:
        raise CorpusError(f"{len(speakers)} speakers are too few to train, validate and test on")
    split_of = dict.fromkeys(left, "train")
    return (
        split_of | dict.fromkeys(named_validation, "validation") | dict.fromkeys(named_test, "test")
    )


def split_recordings(
    recordings: Iterable[Recording], test: Sequence[str] = (), validation: Sequence[str] = ()
) -> dict[str, list[Recording]]:
    """Groups recordings by split; disabled splits are omitted.

    Args:
      recordings: recordings of all speakers.
      test: see `split_speakers`.
      validation: see `split_speakers`.

    Raises:
      CorpusError: there are no recordings, or `split_speakers` raises it.
    """
    recordings = list(recordings)
    if not recordings:
        raise CorpusError("every recording is left out")
    speakers = {r.speaker for r in recordings}
    if not (test or validation) and len(speakers) < _FEWEST_SPEAKERS <= len(recordings):
        print(
            f"warning: {len(speakers)} speaker(s) are too few to keep some for tests, so single "
            "recordings are kept: the error rates will be of voices heard in training",
            file=sys.stderr,
        )
        return _split_by_recording(recordings)
    split_of = split_speakers(speakers, test, validation)
    present = set(split_of.values())
    splits: dict[str, list[Recording]] = {
        split: [] for split in ("train", "validation", "test") if split in present
    }
    for recording in recordings:
        splits[split_of[recording.speaker]].append(recording)
    return splits


def _split_by_recording(recordings: list[Recording]) -> dict[str, list[Recording]]:
    """Assigns a fifth of the recordings to test and a fifteenth to validation, by hash of ids."""
    ordered = sorted(recordings, key=lambda r: hashlib.sha256(r.id.encode()).digest())
    test = max(1, round(TEST_FRACTION * len(ordered)))
    validation = test + max(1, round(VALIDATION_FRACTION * len(ordered)))
    return {
        "train": ordered[validation:],
        "validation": ordered[test:validation],
        "test": ordered[:test],
    }
