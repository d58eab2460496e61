"""Reads folders of phrases: each subfolder is named after what its recordings say."""

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
"""Speech Commands' own lists of what validates and what is tested; the rest is trained on."""

_SPEAKER = re.compile(r"(?P<speaker>.+)_nohash_\d+")

BLOCKS = 20
"""Runs of consecutive recordings that a phrase whose speakers are unknown is cut into."""


@dataclasses.dataclass(frozen=True)
class PhraseFolder:
    """Recordings of a folder of phrases, and what is known of their splits.

    Attributes:
      recordings: in the order of their ids, which are paths without their suffix.
      split_of: recording id -> split, where the folder has lists of them; else empty.
      has_speakers: whether speakers are named; else a "speaker" is a run of recordings.
    """

    recordings: list[Recording]
    split_of: dict[str, str]
    has_speakers: bool


def list_phrases(folder: Path, skip_report: SkipReport) -> PhraseFolder:
    """Lists ``<folder>/<phrase>/**/<recording>``.

    An underscore in a phrase's folder is a space; folders that start with an underscore or a dot
    (``_background_noise_``) hold no phrase. A recording called ``<speaker>_nohash_<number>`` is of
    that speaker, as in Speech Commands.

    Args:
      folder: holds one folder a phrase, and ``validation_list.txt`` and ``testing_list.txt`` where
        the corpus has them.
      skip_report: counts recordings of folders whose name is no phrase.

    Raises:
      CorpusError: there is no such folder, no phrase in it, a list names what is not there, only
        some recordings name their speaker, or a speaker is in two splits of the lists.
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
