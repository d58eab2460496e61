"""Builder of ``phrases``; see README.md in this folder."""

import re
from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds

from data.audio import Limits
from data.corpus import Recording
from data.folder_corpus import FolderCorpus
from data.phrases.folder import BLOCKS, PhraseFolder, list_phrases
from data.speaker_splits import split_recordings
from rnnt_qat.input_pipeline.corpus import CorpusError


class Phrases(FolderCorpus):
    """Builder of a corpus from a folder with one subfolder per phrase."""

    name = "phrases"
    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION = "Recordings of a few phrases: wake words, commands."

    def __init__(self, *, name: str = "phrases", **options: Any):
        """Creates a builder.

        Args:
          name: name of the corpus: ``phrases/NAME``.
          **options: options of `FolderCorpus`, whose folder is one that `list_phrases` reads;
            speakers cannot be named if it has split lists.

        Raises:
          CorpusError: the name is not valid.
        """
        if not re.fullmatch("[a-z][a-z0-9_]*", name):
            raise CorpusError(f"{name!r} is no name: letters, digits and underscores make one")
        options.setdefault("limits", Limits(max_duration_s=10.0, max_chars_per_s=45.0))
        config = tfds.core.BuilderConfig(name=name, description="A folder of phrases.")
        super().__init__(config=config, **options)

    def list_recordings(self) -> Mapping[str, list[Recording]]:
        """Lists the phrases, split by the lists of the folder, by speaker or by file name."""
        found = list_phrases(self.folder, self.skip_report)
        if found.split_of:
            if any(self.named_speakers.values()):
                raise CorpusError(
                    f"{self.folder} has lists of its splits; speakers cannot be named"
                )
            splits: dict[str, list[Recording]] = {"train": [], "validation": [], "test": []}
            for recording in found.recordings:
                splits[found.split_of[recording.id]].append(recording)
            return splits
        if found.has_speakers:
            return split_recordings(found.recordings, **self.named_speakers)
        if any(self.named_speakers.values()):
            raise CorpusError(f"{self.folder} does not say who speaks: name nobody")
        print(
            f"{self.folder}: nothing says who speaks; each phrase's recordings, in the "
            "order of their names, are split 75/10/15: a speaker may be in two splits"
        )
        return _split_runs(found)


def _split_runs(found: PhraseFolder) -> dict[str, list[Recording]]:
    """Assigns the last blocks of each phrase to test, and those before them to validation."""
    splits: dict[str, list[Recording]] = {"train": [], "validation": [], "test": []}
    for recording in found.recordings:
        before = int(recording.speaker.rsplit("/", 1)[1]) / BLOCKS
        split = "test" if before >= 0.85 else "validation" if before >= 0.75 else "train"
        splits[split].append(recording)
    return splits
