"""Reader of folders of single spoken digits."""

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any

from data.audio import decode_audio
from data.corpus import Recording
from data.english import number_words
from data.librispeech.folder import FolderSource
from data.skips import Cause, SkipError, SkipReport
from rnnt_qat.input_pipeline.corpus import CorpusError

NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_\d+")

DIGITS = tuple(number_words(digit) for digit in range(10))


@dataclasses.dataclass(frozen=True)
class FolderDigits:
    """Single digits of a folder that `list_digits` reads.

    Attributes:
      folder: the folder.
    """

    folder: Path

    def fingerprint(self) -> dict[str, Any]:
        """Identifies the files of the folder."""
        return FolderSource(self.folder).fingerprint()

    def recordings(self, skip_report: SkipReport) -> list[Recording]:
        """Lists the digits; see `list_digits`."""
        return list_digits(self.folder, skip_report)


def list_digits(folder: Path, skip_report: SkipReport) -> list[Recording]:
    """Lists single digits, in the order of their ids.

    Args:
      folder: the Free Spoken Digit Dataset or its folder ``recordings`` (files
        ``<digit>_<speaker>_<number>.wav``), or a folder of speakers in LibriSpeech's layout.
      skip_report: counts files with other names and transcripts other than one digit.

    Raises:
      CorpusError: the folder does not exist or has neither layout.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder; name the Free Spoken Digit Dataset's")
    recordings = folder / "recordings" if (folder / "recordings").is_dir() else folder
    # Skip "._x.wav", the metadata that macOS stores beside x.wav.
    files = sorted(recordings.glob("[!.]*.wav"))
    if files:
        return [r for path in files if (r := _named_after_digit(path, skip_report)) is not None]
    listed = FolderSource(folder).recordings(None, skip_report)
    for recording in listed:
        if recording.text not in DIGITS:
            cause = SkipError(Cause.NOT_A_DIGIT, repr(recording.text))
            skip_report.skip(recording.id, cause)
    return [recording for recording in listed if recording.text in DIGITS]


def _named_after_digit(path: Path, skip_report: SkipReport) -> Recording | None:
    match = NAME.fullmatch(path.stem)
    if match is None:
        skip_report.skip(path.stem, SkipError(Cause.NOT_A_DIGIT, path.name))
        return None
    text = number_words(int(match["digit"]))
    decode = functools.partial(decode_audio, path)
    return Recording(path.stem, match["speaker"], text, decode)
