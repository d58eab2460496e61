"""Builder of ``connected_digits``; see README.md in this folder."""

import collections
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data.connected_digits.joined import JoinedDigits, draw_strings
from data.corpus import CorpusBuilder, Recording
from data.librispeech.folder import FolderSource
from data.speaker_splits import split_recordings
from data.spoken_digits.builder import LIMITS
from data.spoken_digits.folder import list_digits


class ConnectedDigits(CorpusBuilder):
    """Builder of strings of three to eight digits; splits share neither speakers nor strings."""

    name = "connected_digits"
    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION = "Digit strings joined from single digits of one speaker, split by speaker."
    HOMEPAGE = "https://github.com/Jakobovski/free-spoken-digit-dataset"

    def __init__(
        self,
        *,
        data_dir: str | Path,
        folder: Path,
        test_speakers: Sequence[str] = (),
        validation_speakers: Sequence[str] = (),
        strings: int = 300,
        seed: int = 0,
        **options: Any,
    ):
        """Creates a builder.

        Args:
          data_dir: folder of prepared corpora.
          folder: single digits; see `list_digits`.
          test_speakers: see `split_speakers`.
          validation_speakers: see `split_speakers`.
          strings: number of strings per speaker.
          seed: seed of the strings, the recording of each digit, and the pauses.
          **options: options of `CorpusBuilder`.
        """
        self._source = FolderSource(folder)
        self._named = {"test": tuple(test_speakers), "validation": tuple(validation_speakers)}
        self._strings, self._seed = strings, seed
        options.setdefault("limits", LIMITS)
        super().__init__(data_dir=data_dir, **options)

    def sources(self) -> dict[str, Any]:
        """Returns the fingerprint of the folder, the named speakers and the drawing options."""
        drawn = {"strings": self._strings, "seed": self._seed}
        return self._source.fingerprint() | {"speakers": self._named} | drawn

    def list_recordings(self) -> Mapping[str, list[Recording]]:
        """Draws the strings of each speaker; see `CorpusBuilder`."""
        digits = list_digits(self._source.folder, self.skip_report)
        return {
            split: [string for s in _by_speaker(said) for string in self._join(s, split)]
            for split, said in split_recordings(digits, **self._named).items()
        }

    def _join(self, said: list[Recording], split: str) -> list[Recording]:
        speaker = said[0].speaker
        takes = collections.defaultdict(list)
        for recording in said:
            takes[recording.text].append(recording.decode)
        rng = random.Random(f"{self._seed}/connected_digits/{speaker}")
        return [
            Recording(
                f"{speaker}-{number:05d}",
                speaker,
                " ".join(string),
                JoinedDigits.draw([rng.choice(takes[digit]) for digit in string], rng),
            )
            for number, string in enumerate(
                draw_strings(sorted(takes), split, self._strings, rng), start=1
            )
        ]


def _by_speaker(recordings: list[Recording]) -> list[list[Recording]]:
    groups = collections.defaultdict(list)
    for recording in recordings:
        groups[recording.speaker].append(recording)
    return [groups[speaker] for speaker in sorted(groups)]
