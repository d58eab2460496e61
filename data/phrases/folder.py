"""Reader of folders of phrases: each subfolder is named after the phrase of its recordings."""

import dataclasses
import functools
import re
from pathlib import Path

from data.audio import decode_audio
from data.corpus import Recording
from data.librispeech.folder import AUDIO_SUFFIXES
from data.skips import SkipError, SkipReport
from data.text import normalise
from rnnt_qat.input_pipeline.corpus import CorpusError

SPLIT_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
"""Lists of the validation and test recordings of Speech Commands; others are for training."""

_SPEAKER = re.compile(r"(?P<speaker>.+)_nohash_\d+")

BLOCKS = 20
"""Number of blocks of consecutive recordings per phrase if the speakers are unknown."""


@dataclasses.dataclass(frozen=True)
class PhraseFolder:
    """Recordings of a folder of phrases and their splits, if known.

    Attributes:
      recordings: recordings in the order of their ids, which are paths without suffix.
      split_of: recording id -> split, if the folder has split lists; otherwise empty.
      has_speakers: whether speakers are named; otherwise a "speaker" is a block of recordings.
    """

    recordings: list[Recording]
    split_of: dict[str, str]
    has_speakers: bool


def list_phrases(folder: Path, skip_report: SkipReport) -> PhraseFolder:
    """Lists ``<folder>/<phrase>/**/<recording>``.

    An underscore in the name of a folder stands for a space. Folders that start with an underscore
    or a dot (``_background_noise_``) are ignored. The speaker of a recording is taken from the name
    ``<speaker>_nohash_<number>``, as in Speech Commands.

    Args:
      folder: folder with one subfolder per phrase, and optionally ``validation_list.txt`` and
        ``testing_list.txt``.
      skip_report: counts recordings of folders whose name is not a valid phrase.

    Raises:
      CorpusError: the folder does not exist or has no phrases, a list names a missing recording,
        only some recordings name their speaker, or the lists put a speaker into two splits.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder; name one that holds a folder a phrase")
    recordings, unnamed = [], 0
    for phrase in sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] not in "_."):
        files = sorted(
            p for p in phrase.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.name[0] != "."
        )
        for position, path in enumerate(files):
            name = path.relative_to(folder).with_suffix("").as_posix()
            try:
                text = normalise(phrase.name.replace("_", " "))
            except SkipError as error:
                skip_report.skip(name, error)
                continue
            match = _SPEAKER.fullmatch(path.stem)
            unnamed += match is None
            block = f"{phrase.name}/{BLOCKS * position // len(files):02d}"
            speaker = match["speaker"] if match else block
            decode = functools.partial(decode_audio, path)
            recordings.append(Recording(name, speaker, text, decode))
    if not recordings:
        raise CorpusError(f"{folder} holds no <phrase>/*{AUDIO_SUFFIXES[1]} or the like")
    if 0 < unnamed < len(recordings):
        raise CorpusError(
            f"{folder}: {unnamed} of {len(recordings)} recordings are not called "
            "<speaker>_nohash_<number>; rename them, or all others"
        )
    split_of = _read_split_lists(folder, recordings)
    return PhraseFolder(recordings, split_of, has_speakers=not unnamed)


def _read_split_lists(folder: Path, recordings: list[Recording]) -> dict[str, str]:
    lists = {split: folder / name for split, name in SPLIT_LISTS.items()}
    if not any(path.exists() for path in lists.values()):
        return {}
    split_of = {recording.id: "train" for recording in recordings}
    for split, path in lists.items():
        if not path.exists():
            raise CorpusError(f"{path} is missing beside {', '.join(SPLIT_LISTS.values())}")
        for line in filter(None, map(str.strip, path.read_text("utf-8").splitlines())):
            name = Path(line).with_suffix("").as_posix()
            if name not in split_of:
                raise CorpusError(f"{path} names {line!r}, which is not there")
            split_of[name] = split
    splits_of: dict[str, set[str]] = {}
    for recording in recordings:
        splits_of.setdefault(recording.speaker, set()).add(split_of[recording.id])
    torn = sorted(speaker for speaker, splits in splits_of.items() if len(splits) > 1)
    if torn:
        raise CorpusError(f"{folder}: its lists put speakers into two splits: {', '.join(torn)}")
    return split_of
