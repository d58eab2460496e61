"""Records of a packed split: its sound files one after the other in one file.

A packed corpus (``data/packing.py``) has for each split ``packed-<split>.bin`` instead of
array_record files, and in each line of its index the key ``bytes``, the length of the utterance's
sound file. It is read without tensorflow-datasets. A split without that file has transcripts alone,
e.g. a test set whose sentences training must leave out.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BYTES = "bytes"
"""Key of an index line: length of the utterance's sound file in bytes."""


def packed_path(directory: Path, split: str) -> Path:
    """Returns the path of a packed split's sound files."""
    return directory / f"packed-{split}.bin"


class PackedRecords(Sequence[Mapping[str, bytes]]):
    """The records of a packed split, in the form of those of tensorflow-datasets.

    Args:
      path: file of the sound files.
      rows: lines of the split's index.

    Raises:
      ValueError: if the file is not as long as its index says.
    """

    def __init__(self, path: Path, rows: Sequence[Mapping[str, Any]]):
        self._rows = rows
        self._starts = [0, *itertools.accumulate(int(row[BYTES]) for row in rows)]
        # A map: threads read it without sharing the position of a file.
        self._content = np.memmap(path, np.uint8, mode="r")
        if len(self._content) != self._starts[-1]:
            raise ValueError(
                f"{path.name} has {len(self._content)} bytes, its index says {self._starts[-1]}"
            )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self._rows[index]
        sound = self._content[self._starts[index] : self._starts[index + 1]].tobytes()
        return {key: row[key].encode() for key in ("id", "speaker", "text")} | {"audio": sound}
