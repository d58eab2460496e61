"""Builder of ``asterisk_prompts``; see README.md in this folder."""

import collections
import functools
import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data.asterisk_prompts.transcripts import parse_transcripts, phrases, spoken_text
from data.audio import Limits, decode_g722
from data.corpus import CorpusBuilder, Recording
from data.debian import apt_download, check_sha256, find_deb, read_deb
from data.skips import Cause, SkipError
from rnnt_qat.input_pipeline.corpus import CorpusError

PACKAGES = {
    "asterisk-core-sounds-en-g722": (
        "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806"
    ),
    "asterisk-core-sounds-en": "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
}
"""Debian packages, version 1.6.1-1, and their SHA-256."""

SPEAKER = "allison"
TEST_FRACTION, VALIDATION_FRACTION = 0.12, 0.08

CLOSED_SETS = ("digits/", "letters/", "phonetic/")
"""Numbers, months, letters, the spelling alphabet: each word occurs once, alone. They are used for
training, because the pronunciation of "w" or "zed" cannot be learned from other words."""

LARGEST_HELD_OUT_GROUP = 8
"""Maximum size of a group of prompts with common phrases that may be held out; a larger group would
be a split by itself."""


class AsteriskPrompts(CorpusBuilder):
    """Builder of English telephone prompts: one professional speaker, 16 kHz G.722, CC BY-SA."""

    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION = "Asterisk core sounds, English: recorded telephone prompts, one speaker."
    HOMEPAGE = "https://www.asterisk.org"

    def __init__(self, *, data_dir: str | Path, debs: Path | None = None, **options: Any):
        """Creates a builder.

        Args:
          data_dir: folder of prepared corpora.
          debs: folder with the two packages; None downloads them with apt into
            ``<data_dir>/downloads``.
          **options: options of `CorpusBuilder`.
        """
        self._debs = debs
        self._downloads = Path(data_dir) / "downloads"
        options.setdefault("limits", Limits(max_duration_s=35.0))  # the longest two last 31 s
        super().__init__(data_dir=data_dir, **options)

    def sources(self) -> dict[str, Any]:
        """Returns the checksums of the packages, whatever their origin."""
        return dict(PACKAGES)

    def list_recordings(self) -> Mapping[str, list[Recording]]:
        """Reads the packages and splits the prompts; see `CorpusBuilder`."""
        sounds = self._obtain("asterisk-core-sounds-en-g722")
        audio = {
            path.split("/sounds/", 1)[1].split("/", 1)[1].removesuffix(".g722"): content
            for path, content in read_deb(sounds, lambda path: path.endswith(".g722"))
        }
        transcripts = self.read_transcripts()

        spoken = {}
        for name in sorted(audio.keys() | transcripts.keys()):
            try:
                if name not in audio:
                    raise SkipError(Cause.MISSING_AUDIO, transcripts[name])
                if name not in transcripts:
                    raise SkipError(Cause.UNTRANSCRIBED, f"{name}.g722")
                spoken[name] = spoken_text(transcripts[name])
            except SkipError as error:
                self.skip_report.skip(name, error)

        split_of = split_by_phrase({name: phrases(transcripts[name]) for name in spoken})
        splits: dict[str, list[Recording]] = {"train": [], "validation": [], "test": []}
        for name, text in spoken.items():
            decode = functools.partial(decode_g722, audio[name])
            splits[split_of[name]].append(Recording(name, SPEAKER, text, decode))
        return splits

    def read_transcripts(self) -> dict[str, str]:
        """Reads the transcript of each prompt from the list in the package."""
        texts = self._obtain("asterisk-core-sounds-en")
        lists = [c for _, c in read_deb(texts, lambda p: p.endswith("core-sounds-en.txt.gz"))]
        if len(lists) != 1:
            raise CorpusError(f"{texts} holds {len(lists)} core-sounds-en.txt.gz, not 1")
        return parse_transcripts(gzip.decompress(lists[0]).decode("utf-8"))

    def _obtain(self, package: str) -> Path:
        if self._debs is not None:
            deb = find_deb(package, self._debs)
        elif found := sorted(self._downloads.glob(f"{package}_*.deb")):
            deb = found[-1]
        else:
            print(f"downloading {package} with apt into {self._downloads}")
            try:
                deb = apt_download(package, self._downloads)
            except CorpusError as error:
                raise CorpusError(f"{error} (--asterisk_debs=<folder>)") from error
        check_sha256(deb, PACKAGES[package])
        return deb


def split_by_phrase(prompts: Mapping[str, set[str]]) -> dict[str, str]:
    """Splits prompts so that no phrase occurs in two splits.

    Prompts that share a phrase form a group, which is never divided. Groups are assigned in the
    order of a hash of their phrases, so the split depends only on the texts.

    Args:
      prompts: name -> phrases of the prompt; see `phrases`.

    Returns:
      Name -> "train", "validation" or "test".
    """
    group_of: dict[str, set[str]] = {}  # phrase -> names; the phrases of a group share the set
    for name, said in prompts.items():
        names = {name}.union(*(group_of.get(phrase, set()) for phrase in said))
        for phrase in set().union(*(prompts[other] for other in names)):
            group_of[phrase] = names

    groups = collections.defaultdict(list)
    for names in {id(names): names for names in group_of.values()}.values():
        key = " ".join(sorted(set().union(*(prompts[name] for name in names))))
        groups[hashlib.sha256(key.encode()).hexdigest()] = sorted(names)

    wanted = {
        "test": TEST_FRACTION * len(prompts),
        "validation": VALIDATION_FRACTION * len(prompts),
    }
    split_of = {}
    for _, group in sorted(groups.items()):
        in_closed_set = any(name.startswith(CLOSED_SETS) for name in group)
        with_room = [split for split, number in wanted.items() if number >= len(group)]
        split = "train"
        if with_room and not in_closed_set and len(group) <= LARGEST_HELD_OUT_GROUP:
            split = with_room[0]
            wanted[split] -= len(group)
        split_of.update(dict.fromkeys(group, split))
    return split_of
