"""Conversion of the transcript list of the prompts to spoken words."""

import re

from data.skips import Cause, SkipError
from data.text import normalise

_DIRECTION = re.compile(r"\[[^\]]*\]|<[^>]*>|\([^)]*\)")
"""Notes about the recording, which are not spoken: "[ascending tones]", "at [@]", "(... plays)"."""

RUN_WORDS = 8

_SENTENCE_END = re.compile(r"[.?!;:]+(?:\s+|$)")

_SPOKEN = {
    # telephone keys
    "#": " pound ",
    "*": " star ",
    "www.asterisk.org": "w w w dot asterisk dot org",
    # acronyms that are spelled out, as the durations show (IAX and SIP are spoken as words)
    "PBX": "p b x",
    "IVR": "i v r",
    "MGCP": "m g c p",
    "USB": "u s b",
    "over IP": "over i p",
    # misspellings in the list
    "De-activated": "deactivated",
    "Un-indentified": "unidentified",
    "witheld": "withheld",
    "umute": "unmute",
    "represenatives": "representatives",
    "fourtieth": "fortieth",
    "exclaimation": "exclamation",
    "xray": "x ray",
    "thru": "through",
}


def parse_transcripts(content: str) -> dict[str, str]:
    """Reads ``core-sounds-en.txt``: one "name: text" per line, comments start with ";"."""
    lines = (line for line in content.splitlines() if line.strip() and not line.startswith(";"))
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): text.strip() for name, _, text in pairs}


def spoken_text(text: str) -> str:
    """Returns the normalised words of a prompt.

    Raises:
      SkipError: the text has only notes and no words, or ambiguous numbers.
    """
    words = _DIRECTION.sub(" ", text)
    if text.strip() and not words.strip():
        raise SkipError(Cause.NOT_SPEECH, text)
    for written, spoken in _SPOKEN.items():
        words = words.replace(written, spoken)
    return normalise(words)


def phrases(text: str) -> set[str]:
    """Returns the phrases that only one split may contain: sentences and runs of `RUN_WORDS` words.

    Runs detect variants of a sentence, such as two menus that differ in one choice.
    """
    parts = _SENTENCE_END.split(_DIRECTION.sub(" ", text))
    sentences = {spoken_text(part) for part in parts if re.search(r"\w", part)}
    words = spoken_text(text).split()
    starts = range(len(words) - RUN_WORDS + 1)
    return sentences | {" ".join(words[start : start + RUN_WORDS]) for start in starts}
