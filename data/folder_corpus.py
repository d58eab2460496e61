"""Builder shared by corpora that are one folder, split by speaker."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.corpus import CorpusBuilder
from data.librispeech.folder import FolderSource


class FolderCorpus(CorpusBuilder):
    """Builder of a corpus from one folder whose splits are chosen by speaker.

    A subclass lists its recordings from ``self.folder`` and splits them with
    ``split_recordings(recordings, **self.named_speakers)``.
    """

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
          folder: folder of the recordings.
          test_speakers: see `split_speakers`.
          validation_speakers: see `split_speakers`.
          **options: options of `CorpusBuilder`.
        """
        self.folder = folder
        self.named_speakers = {
            "test": tuple(test_speakers),
            "validation": tuple(validation_speakers),
        }
        super().__init__(data_dir=data_dir, **options)

    def sources(self) -> dict[str, Any]:
        """Returns the fingerprint of the folder and the named speakers."""
        return FolderSource(self.folder).fingerprint() | {"speakers": self.named_speakers}
