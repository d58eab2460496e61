"""Reader of folders in LibriSpeech's layout.

Panayotov et al., "LibriSpeech: an ASR corpus based on public domain audio books", ICASSP 2015::

    <folder>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt     # "<id> WORDS" per line
    <folder>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac
"""

import dataclasses
import functools
import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data.audio import decode_audio
from data.encoding import Recording
from data.languages import ENGLISH, Language
from data.skips import Cause, SkipError, SkipReport
from data.text import transcript
from data.transcript_files import UTF_8, read_lines
from rnnt_qat.input_pipeline.corpus import CorpusError

AUDIO_SUFFIXES = (".flac", ".wav", ".aiff", ".aif", ".au", ".sph", ".ogg", ".oga", ".opus", ".mp3")
"""Suffixes of audio files; of two files with one id, the earlier suffix takes precedence."""

TRANSCRIPT_SUFFIX = ".trans.txt"


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """LibriSpeech on disk, or any corpus in its layout.

    Attributes:
      folder: folder of subsets such as ``train-clean-100``, or of speakers.
      language: language of the transcripts.
      normalising: whether transcripts are normalised (`data.text`); if False, those that are not
        normalised are skipped.
      encoding: encoding of transcript files without a byte order mark.
    """

    folder: Path
    language: Language = ENGLISH
    normalising: bool = True
    encoding: str = UTF_8

    def fingerprint(self) -> dict[str, Any]:
        """Returns a hash of the names and sizes of all files, independent of the folder's path."""
        files = sorted(
            place / name
            for place, names in _walk(self.folder)
            for name in names
            if (place / name).is_file()
        )
        listing = "".join(
            f"{path.relative_to(self.folder)} {path.stat().st_size}\n" for path in files
        )
        digest = hashlib.sha256(os.fsencode(listing)).hexdigest()
        options: dict[str, Any] = {} if self.normalising else {"normalising": False}
        if self.encoding != UTF_8:
            options |= {"encoding": self.encoding}
        return {"files": len(files), "listing_sha256": digest, **options}

    def recordings(self, subset: str | None, skip_report: SkipReport) -> list[Recording]:
        """Lists the recordings of a subset, or of a folder of speakers, in the order of chapters.

        Args:
          subset: a folder inside ``folder``; None for ``folder`` itself.
          skip_report: counts recordings without a transcript, transcripts without a recording,
            unusable transcripts, hidden files, and second files with the same id in a chapter.

        Raises:
          CorpusError: the folder does not exist or has nothing in LibriSpeech's layout.
        """
        folder = self.folder / subset if subset else self.folder
        if not folder.is_dir():
            raise CorpusError(f"{folder} is not a folder; name one in LibriSpeech's layout")
        recordings: list[Recording] = []
        found_transcripts = False
        for chapter in _chapters(folder, skip_report):
            found_transcripts |= bool(chapter.transcripts)
            recordings += self._chapter(chapter, skip_report)
        if not found_transcripts:
            raise CorpusError(
                f"{folder} holds no <speaker>/<chapter>/*{TRANSCRIPT_SUFFIX}: it is not in "
                "LibriSpeech's layout"
            )
        return recordings

    def _chapter(self, chapter: "_Chapter", skip_report: SkipReport) -> Iterator[Recording]:
        texts = self._texts(chapter, skip_report)
        for name in sorted(texts.keys() | chapter.audio.keys()):
            written = texts.get(name)
            try:
                if written is None:
                    raise SkipError(Cause.UNTRANSCRIBED, chapter.audio[name].name)
                if isinstance(written, SkipError):
                    raise written
                if name not in chapter.audio:
                    raise SkipError(Cause.MISSING_AUDIO, f"{name} in {chapter.folder.name}")
                text = transcript(written, self.language, self.normalising)
            except SkipError as error:
                skip_report.skip(name, error)
                continue
            skip_report.normalise(name, written, text)
            decode = functools.partial(decode_audio, chapter.audio[name])
            yield Recording(name, chapter.folder.parent.name, text, decode)

    def _texts(self, chapter: "_Chapter", skip_report: SkipReport) -> dict[str, str | SkipError]:
        """Returns the written transcript of each id, or the error for it."""
        texts: dict[str, str | SkipError] = {}
        for path in chapter.transcripts:
            try:
                lines = read_lines(path, self.encoding)
            except SkipError as error:
                skip_report.skip(f"{chapter.folder.name}/{path.name}", error)
                continue
            for line, broken in lines:
                name, *rest = line.split(maxsplit=1) or [""]
                if not name:
                    continue
                name = unicodedata.normalize("NFC", name)
                text: str | SkipError = broken or (rest[0].strip() if rest else "")
                if isinstance(text, str) and texts.get(name, text) != text:
                    text = SkipError(Cause.CONTRADICTION, f"in {path.name}")
                texts[name] = text
        return texts


@dataclasses.dataclass(frozen=True)
class _Chapter:
    """A folder with recordings or transcripts.

    Attributes:
      folder: the folder.
      transcripts: transcript files.
      audio: audio files by id.
    """

    folder: Path
    transcripts: list[Path]
    audio: dict[str, Path]


def _chapters(folder: Path, skip_report: SkipReport) -> Iterator[_Chapter]:
    """Yields chapters that are not empty, in the order of their names."""

    def unreadable(error: OSError) -> None:
        where = os.fsencode(error.filename).decode("utf-8", "backslashreplace")
        skip_report.skip(where, SkipError(Cause.UNREADABLE_FOLDER, error.strerror or str(error)))

    for place, names in _walk(folder, unreadable):
        if place == folder:
            continue  # README.TXT and similar files
        transcripts: list[Path] = []
        audio: dict[str, Path] = {}
        for name in sorted(names, key=_preference):
            is_transcript = name.endswith(TRANSCRIPT_SUFFIX)
            if not is_transcript and not name.lower().endswith(AUDIO_SUFFIXES):
                continue
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")
            utterance_id = unicodedata.normalize("NFC", Path(name).stem)
            if name.startswith("."):  # metadata that macOS stores as "._x.flac" beside x.flac
                skip_report.skip(shown, SkipError(Cause.HIDDEN_FILE, place.name))
            elif shown != name:
                skip_report.skip(shown, SkipError(Cause.BAD_NAME, f"in {place.name}"))
            elif is_transcript:
                transcripts.append(place / name)
            elif utterance_id in audio:
                detail = f"{name} beside {audio[utterance_id].name}"
                skip_report.skip(utterance_id, SkipError(Cause.DUPLICATE_ID, detail))
            else:
                audio[utterance_id] = place / name
        if transcripts or audio:
            yield _Chapter(place, transcripts, audio)


def _walk(
    folder: Path, onerror: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Yields folders and the names of their files; follows links, but visits no folder twice."""
    walked: set[str] = set()
    for root, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        folders.sort()
        real = os.path.realpath(root)
        if real in walked:
            folders.clear()
            continue
        walked.add(real)
        yield Path(root), names


def _preference(name: str) -> tuple[int, str]:
    suffix = Path(name).suffix.lower()
    rank = AUDIO_SUFFIXES.index(suffix) if suffix in AUDIO_SUFFIXES else -1
    return rank, name
