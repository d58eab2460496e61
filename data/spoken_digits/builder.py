"""Builder of ``spoken_digits``; see README.md in this folder."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import tensorflow_datasets as tfds

from data.audio import Limits
from data.corpus import CorpusBuilder, Recording
from data.skips import SkipReport
from data.speaker_splits import split_recordings

LIMITS = Limits(max_chars_per_s=45.0)  # a digit without silence around it: "seven" in 0.14 s


class DigitSource(Protocol):
    """Recordings of single digits: `folder.FolderDigits` or `tfds_source.TfdsDigits`."""

    def fingerprint(self) -> dict[str, Any]:
        """Returns what identifies the recordings, as JSON."""

    def recordings(self, skip_report: SkipReport) -> list[Recording]:
        """Lists the digits, in the order of their ids.

        Args:
          skip_report: counts what is left out.
        """


class SpokenDigits(CorpusBuilder):
    """Builder of a corpus of single digits: 8 kHz, a few speakers who recorded themselves."""

    name = "spoken_digits"
    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION = "Free Spoken Digit Dataset: single English digits, split by speaker."
    HOMEPAGE = "https://github.com/Jakobovski/free-spoken-digit-dataset"

    def __init__(
        self,
        *,
        source: DigitSource,
        test_speakers: Sequence[str] = (),
        validation_speakers: Sequence[str] = (),
        **options: Any,
    ):
        """Creates a builder.

        Args:
          source: the recordings.
          test_speakers: see `split_speakers`.
          validation_speakers: see `split_speakers`.
          **options: options of `CorpusBuilder`.
        """
        self._source = source
        self._named = {"test": tuple(test_speakers), "validation": tuple(validation_speakers)}
        options.setdefault("limits", LIMITS)
        super().__init__(**options)

    def sources(self) -> dict[str, Any]:
        """Returns the fingerprint of the recordings and the named speakers."""
        return self._source.fingerprint() | {"speakers": self._named}

    def list_recordings(self) -> Mapping[str, list[Recording]]:
        """Lists the digits, split by speaker; see `CorpusBuilder`."""
        digits = self._source.recordings(self.skip_report)
        return split_recordings(digits, **self._named)
