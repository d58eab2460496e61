"""The game's dialogue scripts, as spoken words."""

import re
from collections.abc import Iterator

from data.text import normalise

_LINE = re.compile(r"^#\(([^)\n]*)\)[ \t]*(\S*)[^\n]*\n(.*?)(?=^#\(|\Z)", re.DOTALL | re.MULTILINE)
_NOISE = r"(?:crash|gulp|hee|sigh|snork|sniff|sob|urk|urp|whimper)"
_NOISE_NOTE = re.compile(rf"\([\s!.,?-]*(?:{_NOISE}[\s!.,?-]*)*\)|\*{_NOISE}[.!]*\*", re.IGNORECASE)
"""Sounds made or question marks pulled, not words said: "(sniff!)", "(?)", "*Sigh*"."""

_EMPHASIS_OR_ASIDE = re.compile(r"\*|\((?!\s*\.\.\.)|\)")
"""Marks around words that are said; a narrator's "(...much later...)" keeps one, and is odd."""


def parse_dialogue(script: str) -> Iterator[tuple[str, str]]:
    """Reads a dialogue script: ``#(LABEL)<tab>clip.ogg`` and the lines said, up to the next label.

    Yields:
      (clip's file name, text) of what characters say; what the player says has no clip.
    """
    for _, clip, text in _LINE.findall(script.replace("\r\n", "\n")):
        if clip:
            yield clip.rsplit("/", 1)[-1], text.strip()


def spoken_text(text: str) -> str:
    """The words of a clip, normalised.

    Raises:
      SkipError: it holds no words, odd marks ("<...>" is another voice), or numbers with several
        readings.
    """
    return normalise(_EMPHASIS_OR_ASIDE.sub(" ", _NOISE_NOTE.sub(" ", text)))
