"""Conversion of the game's dialogue scripts to spoken words."""

import re
from collections.abc import Iterator

from data.text import normalise

_LINE = re.compile(r"^#\(([^)\n]*)\)[ \t]*(\S*)[^\n]*\n(.*?)(?=^#\(|\Z)", re.DOTALL | re.MULTILINE)
_NOISE = r"(?:crash|gulp|hee|sigh|snork|sniff|sob|urk|urp|whimper)"
_NOISE_NOTE = re.compile(rf"\([\s!.,?-]*(?:{_NOISE}[\s!.,?-]*)*\)|\*{_NOISE}[.!]*\*", re.IGNORECASE)
"""Notes of sounds and gestures, which are not words: "(sniff!)", "(?)", "*Sigh*"."""

_EMPHASIS_OR_ASIDE = re.compile(r"\*|\((?!\s*\.\.\.)|\)")
"""Marks around spoken words.

A narrator's "(...much later...)" keeps a mark, so its text is rejected.
"""


def parse_dialogue(script: str) -> Iterator[tuple[str, str]]:
    """Reads a dialogue script: ``#(LABEL)<tab>clip.ogg`` and its lines, up to the next label.

    Yields:
      (file name of the clip, text) of the characters; lines of the player have no clip.
    """
    for _, clip, text in _LINE.findall(script.replace("\r\n", "\n")):
        if clip:
            yield clip.rsplit("/", 1)[-1], text.strip()


def spoken_text(text: str) -> str:
    """Returns the normalised words of a clip.

    Raises:
      SkipError: the text has no words, unknown marks ("<...>" is another voice), or ambiguous
        numbers.
    """
    return normalise(_EMPHASIS_OR_ASIDE.sub(" ", _NOISE_NOTE.sub(" ", text)))
