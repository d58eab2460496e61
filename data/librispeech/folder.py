"""Reads folders in LibriSpeech's layout.

Panayotov et al., "LibriSpeech: an ASR corpus based on public domain audio books", ICASSP 2015::

    <folder>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt     # "<id> WORDS" a line
    <folder>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac
"""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.audio import decode_audio
from data.corpus import Recording
from data.skips import Cause, SkipError, SkipReport
from data.text import check_normalised
from rnnt_qat.input_pipeline.corpus import CorpusError

AUDIO_SUFFIXES = (".flac", ".wav", ".mp3", ".ogg")
TRANSCRIPT_SUFFIX = ".trans.txt"


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """LibriSpeech on disk.

    Attributes:
      folder: holds ``train-clean-100`` and the like, or speakers.
    """

    folder: Path

    def fingerprint(self) -> dict[str, Any]:
        """Names and sizes of all files, as one hash: the same corpus elsewhere is the same."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        listing = "".join(
            f"{path.relative_to(self.folder)} {path.stat().st_size}\n" for path in files
        )
        digest = hashlib.sha256(listing.encode()).hexdigest()
        return {"files": len(files), "listing_sha256": digest}

    def recordings(self, subset: str | None, skip_report: SkipReport) -> list[Recording]:
        """Recordings of a subset, or of a bare folder of speakers; see `list_folder`."""
        return list_folder(self.folder / subset if subset else self.folder, skip_report)


def list_folder(folder: Path, skip_report: SkipReport) -> list[Recording]:
    """Lists the recordings of a folder of speakers, in the order of their ids.

    Args:
      folder: holds one folder a speaker, each with one a chapter.
      skip_report: counts recordings without a transcript, transcripts without a recording, and
        transcripts that are empty or hold anything but letters and apostrophes.

    Raises:
      CorpusError: there is no such folder, or nothing in LibriSpeech's layout in it.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder; name one in LibriSpeech's layout")
    recordings: list[Recording] = []
    found_transcripts = False
    for chapter, transcripts, audio in _chapters(folder):
        found_transcripts |= bool(transcripts)
        lines = [line for path in transcripts for line in path.read_text("utf-8").splitlines()]
        texts = {name: text.strip() for name, _, text in (line.partition(" ") for line in lines)}
        texts.pop("", None)
        for name in sorted(texts.keys() | audio.keys()):
            try:
                if name not in texts:
                    raise SkipError(Cause.UNTRANSCRIBED, audio[name].name)
                if name not in audio:
                    raise SkipError(Cause.MISSING_AUDIO, f"{name} in {chapter.name}")
                text = check_normalised(texts[name].lower())
            except SkipError as error:
                skip_report.skip(name, error)
                continue
            decode = functools.partial(decode_audio, audio[name])
            recordings.append(Recording(name, chapter.parent.name, text, decode))
    if not found_transcripts:
        raise CorpusError(
            f"{folder} holds no <speaker>/<chapter>/*{TRANSCRIPT_SUFFIX}: it is not in "
            "LibriSpeech's layout"
        )
    return recordings


def _chapters(folder: Path) -> Iterator[tuple[Path, list[Path], dict[str, Path]]]:
    """Chapters that hold anything, with their transcript files and their audio by id."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        chapter = Path(root)
        if chapter == folder:
            continue  # README.TXT and the like
        transcripts = [chapter / name for name in sorted(names) if name.endswith(TRANSCRIPT_SUFFIX)]
        audio = {Path(n).stem: chapter / n for n in names if n.lower().endswith(AUDIO_SUFFIXES)}
        if transcripts or audio:
            yield chapter, transcripts, audio
