"""Builder of ``spoken_digits``; see README.md in this folder."""

from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds

from data.audio import Limits
from data.corpus import Recording
from data.folder_corpus import FolderCorpus
from data.speaker_splits import split_recordings
from data.spoken_digits.folder import list_digits

LIMITS = Limits(max_chars_per_s=45.0)  # a digit without silence around it: "seven" in 0.14 s


class SpokenDigits(FolderCorpus):
    """Builder of a corpus of single digits: 8 kHz, a few speakers who recorded themselves."""

    name = "spoken_digits"
    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION = "Free Spoken Digit Dataset: single English digits, split by speaker."
    HOMEPAGE = "https://github.com/Jakobovski/free-spoken-digit-dataset"

    def __init__(self, **options: Any):
        """Creates a builder.

        Args:
          **options: options of `FolderCorpus`, whose folder is one that `list_digits` reads.
        """
        options.setdefault("limits", LIMITS)
        super().__init__(**options)

    def list_recordings(self) -> Mapping[str, list[Recording]]:
        """Lists the digits, split by speaker; see `CorpusBuilder`."""
        digits = list_digits(self.folder, self.skip_report)
        return split_recordings(digits, **self.named_speakers)
