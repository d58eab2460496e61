"""Builder of ``uqm_voices``; see README.md in this folder."""

import dataclasses
import functools
import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data.audio import Limits, decode_audio
from data.corpus import CorpusBuilder, Recording
from data.debian import check_sha256, find_deb, read_deb
from data.skips import Cause, SkipError
from data.uqm_voices.dialogues import parse_dialogue, spoken_text
from rnnt_qat.input_pipeline.corpus import CorpusError

PACKAGES = {
    "uqm-voice": "60c5fe2b4bc2b3be6d075e83bba2f5409c8e5d1e0af5db615eb96dc230c1057b",
    "uqm-content": "95604ef98c7bea6b599d94a3b14a92749a7da3e7a03be02adc5ed94cdebcf019",
}
"""Debian packages of the non-free section, version 0.8.0+deb-1, and their SHA-256."""

VOICE_EFFECTS = ("shofixti", "umgah", "urquan")
"""Voices with such effects that an off-the-shelf recognizer has a WER of 59 to 98 % on them."""

VALIDATION_CHARACTERS = ("vux",)
TEST_CHARACTERS = ("arilou", "druuge", "syreen")
"""Characters that occur in no other split.

All four are among the nine whose words an off-the-shelf recognizer gets mostly right, so their WER
measures recognition of an unknown speaker and not the voice effects.
"""

_DIALOGUE = re.compile(r"^comm\.[\w.]+\.dialogue = CONVERSATION:([^:]+):", re.MULTILINE)


@dataclasses.dataclass(eq=False)
class UqmVoicesConfig(tfds.core.BuilderConfig):
    """Selection of clips.

    Attributes:
      max_duration_s: maximum duration of a clip in seconds.
      without: excluded characters.
    """

    max_duration_s: float = 20.0
    without: tuple[str, ...] = VOICE_EFFECTS


class UqmVoices(CorpusBuilder):
    """Builder of acted dialogues of a computer game, by character: real and difficult speech."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012  (tfds declares it so)
        UqmVoicesConfig(name="short", description="Clips up to 20 s, without voice effects."),
        UqmVoicesConfig(
            name="long", description="Clips up to 35 s, without voice effects.", max_duration_s=35.0
        ),
        UqmVoicesConfig(
            name="all", description="Clips up to 35 s, everybody.", max_duration_s=35.0, without=()
        ),
    ]
    DESCRIPTION = "The Ur-Quan Masters: recorded dialogues of 27 acted characters."
    HOMEPAGE = "https://sc2.sourceforge.net"

    def __init__(
        self, *, data_dir: str | Path, debs: Path, config: str = "short", workers: int | None = None
    ):
        """Creates a builder.

        Args:
          data_dir: folder of prepared corpora.
          debs: folder with the two packages.
          config: ``short``, ``long`` or ``all``.
          workers: number of decoding processes; None is one per core.
        """
        self._debs = debs
        super().__init__(data_dir=data_dir, config=config, workers=workers)
        self.limits = Limits(max_duration_s=self.builder_config.max_duration_s)

    def sources(self) -> dict[str, Any]:
        """Returns the checksums of the packages."""
        return dict(PACKAGES)

    def list_recordings(self) -> Mapping[str, list[Recording]]:
        """Reads the packages and splits the clips by character; see `CorpusBuilder`."""
        voice, content = (self._open(package) for package in PACKAGES)
        clips = {n.rsplit("/", 1)[-1]: n for n in voice.namelist() if n.endswith(".ogg")}
        texts = self._texts(voice, content)

        splits: dict[str, list[Recording]] = {"train": [], "validation": [], "test": []}
        seen: dict[str, str] = {}
        for clip in sorted(clips.keys() | texts.keys()):
            name = clip.removesuffix(".ogg")
            try:
                if clip not in texts:
                    raise SkipError(Cause.UNTRANSCRIBED, clip)
                if clip not in clips:
                    raise SkipError(Cause.MISSING_AUDIO, next(iter(texts[clip]))[:40])
                character = clips[clip].split("/")[-2]
                if character in self.builder_config.without:
                    raise SkipError(Cause.EXCLUDED_SPEAKER, character)
                spoken = {spoken_text(text) for text in texts[clip]}
                if len(spoken) > 1:
                    raise SkipError(Cause.CONTRADICTION, f"{len(spoken)} texts")
                audio = voice.read(clips[clip])
                first = seen.setdefault(hashlib.sha256(audio).hexdigest(), name)
                if first != name:
                    raise SkipError(Cause.DUPLICATE, f"as {first}")
            except SkipError as error:
                self.skip_report.skip(name, error)
                continue
            recording = Recording(
                name, character, spoken.pop(), functools.partial(decode_audio, audio)
            )
            splits[split_of_character(character)].append(recording)
        return splits

    def _open(self, package: str) -> zipfile.ZipFile:
        """Opens the only archive of game content in a package, in memory."""
        deb = find_deb(package, self._debs)
        check_sha256(deb, PACKAGES[package])
        archives = [content for _, content in read_deb(deb, lambda path: path.endswith(".uqm"))]
        if len(archives) != 1:
            raise CorpusError(f"{deb} holds {len(archives)} *.uqm, not 1")
        return zipfile.ZipFile(io.BytesIO(archives[0]))

    def _texts(self, voice: zipfile.ZipFile, content: zipfile.ZipFile) -> dict[str, set[str]]:
        """Returns texts by clip, from the scripts that the voice package assigns to its clips.

        Some scripts were corrected to the recorded words and are part of the voice package.
        """
        (index,) = (name for name in voice.namelist() if name.endswith(".rmp"))
        texts: dict[str, set[str]] = {}
        for script in _DIALOGUE.findall(voice.read(index).decode("utf-8")):
            inside = script.removeprefix("addons/")
            archive = voice if inside != script else content
            for clip, text in parse_dialogue(archive.read(inside).decode("utf-8")):
                texts.setdefault(clip, set()).add(text)
        return texts


def split_of_character(character: str) -> str:
    """Returns the split of everything that a character says."""
    if character in TEST_CHARACTERS:
        return "test"
    return "validation" if character in VALIDATION_CHARACTERS else "train"
