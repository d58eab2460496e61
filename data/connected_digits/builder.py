"""Builder of ``connected_digits``; see README.md in this folder."""

import collections
import random
from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds

from data.connected_digits.joined import JoinedDigits, draw_strings
from data.corpus import Recording
from data.spoken_digits.builder import SpokenDigits


class ConnectedDigits(SpokenDigits):
    """Builder of strings of three to eight digits; splits share neither speakers nor strings."""

    name = "connected_digits"
    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION = "Digit strings joined from single digits of one speaker, split by speaker."

    def __init__(self, *, strings: int = 300, seed: int = 0, **options: Any):
        """Creates a builder.

        Args:
          strings: number of strings per speaker.
          seed: seed of the strings, the recording of each digit, and the pauses.
          **options: options of `SpokenDigits`, whose source has the single digits.
        """
        self._strings, self._seed = strings, seed
        super().__init__(**options)

    def sources(self) -> dict[str, Any]:
        """Returns the sources of the single digits and the drawing options."""
        return super().sources() | {"strings": self._strings, "seed": self._seed}

    def list_recordings(self) -> Mapping[str, list[Recording]]:
        """Draws the strings of each speaker; see `CorpusBuilder`."""
        return {
            split: [string for s in _by_speaker(said) for string in self._join(s, split)]
            for split, said in super().list_recordings().items()
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
