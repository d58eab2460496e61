"""Builder of ``spoken_digits``; see README.md in this folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data.audio import Limits
from data.corpus import CorpusBuilder, Recording
from data.librispeech.folder import FolderSource
from data.speaker_splits import split_recordings
from data.spoken_digits.folder import list_digits

LIMITS = Limits(max_chars_per_s=45.0)  # a digit without silence around it: "seven" in 0.14 s


class SpokenDigits(CorpusBuilder):
    """Builder of a corpus of single digits: 8 kHz, a few speakers who recorded themselves."""

    name = "spoken_digits"
    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION = "Free Spoken Digit Dataset: single English digits, split by speaker."
    HOMEPAGE = "https://github.com/Jakobovski/free-spoken-digit-dataset"

    def __init__(
        self,
        *,
        data_dir: str | Path,
        folder: Path,
        test_speakers: Sequence[str] = (),
        validation_speakers: Sequence[str] = (),
        **options: Any,
    ):
        """Creates a builder.

        Args:
          data_dir: folder of prepared corpora.
          folder: folder of the dataset; see `list_digits`.
          test_speakers: see `split_speakers`.
          validation_speakers: see `split_speakers`.
          **options: options of `CorpusBuilder`.
        """
        self._source = FolderSource(folder)
        self._named = {"test": tuple(test_speakers), "validation": tuple(validation_speakers)}
        options.setdefault("limits", LIMITS)
        super().__init__(data_dir=data_dir, **options)

    def sources(self) -> dict[str, Any]:
        """Returns the fingerprint of the folder and the named speakers."""
        return self._source.fingerprint() | {"speakers": self._named}

    def list_recordings(self) -> Mapping[str, list[Recording]]:
        """Lists the digits, split by speaker; see `CorpusBuilder`."""
        digits = list_digits(self._source.folder, self.skip_report)
        return split_recordings(digits, **self._named)
