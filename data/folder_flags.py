"""Flags of corpora that are one folder, split by speaker."""

import dataclasses
from pathlib import Path
from typing import Any

from absl import flags

from rnnt_qat.input_pipeline.corpus import CorpusError


@dataclasses.dataclass(frozen=True)
class FolderFlags:
    """Flags ``NAME_dir``, ``NAME_test_speakers`` and ``NAME_validation_speakers`` of a corpus.

    Attributes:
      contents: what the folder holds, for the error if it is not named.
      folder: the folder.
      test: test speakers.
      validation: validation speakers.
    """

    contents: str
    folder: flags.FlagHolder[str | None]
    test: flags.FlagHolder[list[str]]
    validation: flags.FlagHolder[list[str]]

    @classmethod
    def define(
        cls, name: str, contents: str, folder_help: str, test_help: str, validation_help: str
    ) -> "FolderFlags":
        """Defines the flags.

        Args:
          name: what the names of the flags start with.
          contents: what the folder holds, for the error if it is not named.
          folder_help: help of the folder's flag.
          test_help: help of the test speakers' flag.
          validation_help: help of the validation speakers' flag.
        """
        return cls(
            contents,
            flags.DEFINE_string(f"{name}_dir", None, folder_help),
            flags.DEFINE_list(f"{name}_test_speakers", [], test_help),
            flags.DEFINE_list(f"{name}_validation_speakers", [], validation_help),
        )

    def speakers(self) -> dict[str, list[str]]:
        """Returns the named speakers as arguments of a builder."""
        return {"test_speakers": self.test.value, "validation_speakers": self.validation.value}

    def arguments(self) -> dict[str, Any]:
        """Returns the folder and the named speakers as arguments of a ``FolderCorpus``.

        Raises:
          CorpusError: no folder is named.
        """
        return {"folder": named_folder(self.folder, self.contents), **self.speakers()}


def named_folder(flag: flags.FlagHolder[str | None], contents: str) -> Path:
    """Returns the folder that a flag names.

    Args:
      flag: the flag.
      contents: what the folder holds.

    Raises:
      CorpusError: the flag is not given.
    """
    if not flag.value:
        raise CorpusError(f"name the folder of {contents} with --{flag.name}")
    return Path(flag.value)
