"""Hostile transcripts: encodings, separators, punctuation, hidden files, ids used twice."""

import codecs
from pathlib import Path

import numpy as np

from benchmarks.drills.hostile import Drill, TakenSilentlyError, damage
from data.languages import LANGUAGES, Language
from data.librispeech.folder import FolderSource
from data.skips import SkipReport
from data.text import check_normalised

SPACES = (
    " ",
    "  ",
    "\t",
    "\u00a0",
    "\u2003",
    " \u200b",
    "\u3000",
    " - ",
    "\u2014",
    "\x0b",
    "\u2028",
)
ENDS = ("", ".", "!", "\u2026", ",", "\u00bb", "\u201d", "\u00ad", "\ufeff", " ", "\t")
APOSTROPHES = ("'", "\u2019", "\u02bc", "\u00b4", "`")
ODD = ("[NOISE]", "1999", "$5", "<unk>", "\u4e2d\u6587", "\x00", "\ufffd", "#", "")
ENCODINGS = (
    *(("utf-8", b""), ("utf-8", codecs.BOM_UTF8), ("utf-16-le", codecs.BOM_UTF16_LE)),
    *(("utf-16-be", codecs.BOM_UTF16_BE), ("utf-32-le", codecs.BOM_UTF32_LE)),
    *(("utf-16-le", b""), ("latin-1", b""), ("cp1251", b"")),
)


def check(rng: np.random.Generator, folder: Path) -> None:
    """Writes a chapter with known words, reads it, and accounts for every utterance."""
    language = list(LANGUAGES.values())[rng.integers(len(LANGUAGES))]
    chapter = folder / "1" / "2"
    chapter.mkdir(parents=True)
    expected: dict[str, str] = {}
    lines = []
    for number in range(int(rng.integers(1, 6))):
        name, text = f"1-2-{number:04d}", _words(rng, language)
        written, expected[name] = _disguise(rng, text), text
        if rng.random() < 0.15:
            written, expected[name] = str(rng.choice(ODD)), ""
        lines.append(f"{name}{rng.choice([' ', chr(9)])}{written}")
        for suffix in rng.choice([".flac", ".wav", ".FLAC"], int(rng.integers(1, 3)), False):
            (chapter / f"{name}{suffix}").touch()
        if rng.random() < 0.2:
            (chapter / f"._{name}.flac").write_bytes(rng.bytes(20))
    encoding, mark = ENCODINGS[rng.integers(len(ENCODINGS))]
    content = mark + str(rng.choice(["\n", "\r\n"])).join(lines).encode(encoding, "replace")
    lossy = content.removeprefix(mark).decode(encoding).replace("\r\n", "\n") != "\n".join(lines)
    damaged = rng.random() < 0.15
    if damaged:
        content = damage(rng, content)
    (chapter / "1-2.trans.txt").write_bytes(content)
    if rng.random() < 0.2:
        (chapter / "._1-2.trans.txt").write_bytes(rng.bytes(40))

    report = SkipReport()
    recordings = FolderSource(folder, language).recordings(None, report)
    report.table()
    left_out = {skip.id for skip in report.skips}
    for recording in recordings:
        check_normalised(recording.text, language)
        wanted = expected.get(recording.id)
        if not (damaged or lossy) and recording.text != wanted:
            raise TakenSilentlyError(f"{wanted!r} was read as {recording.text!r} ({encoding})")
    if (encoding == "utf-8" and "\0" not in "".join(lines)) or (mark and encoding != "utf-8"):
        lost = {name for name, text in expected.items() if text} - {r.id for r in recordings}
        if lost and not damaged:
            raise TakenSilentlyError(f"{sorted(lost)} can be normalised but are left out")
    missing = expected.keys() - {recording.id for recording in recordings} - left_out
    if missing:
        raise TakenSilentlyError(f"{sorted(missing)} are neither kept nor counted")


def _words(rng: np.random.Generator, language: Language) -> str:
    words = ["".join(rng.choice(list(language.letters), rng.integers(2, 7))) for _ in range(3)]
    if rng.random() < 0.3:
        words[0] = f"{words[0][:1]}'{words[0][1:]}"
    return " ".join(words)


def _disguise(rng: np.random.Generator, text: str) -> str:
    """The text as people write it, which normalises to the same."""
    written = str(rng.choice(list(SPACES))).join(text.split(" "))
    written = written.replace("'", str(rng.choice(list(APOSTROPHES))))
    if rng.random() < 0.5 and "\u00df" not in text and "\u00ff" not in text:
        written = written.upper()
    return written + str(rng.choice(list(ENDS)))


DRILL = Drill("transcripts", check, share=0.3)
