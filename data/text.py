"""Transcripts as a recognizer learns them: words of letters and apostrophe, one space between.

What can be read in one way only is spelled out ("2" -> "two", "&" -> "and"); what could be spoken
in several ways ("1999", "$5") raises, because a wrong transcript is worse than a missing one.
"""

import re
import unicodedata

from data.languages import ENGLISH, Language
from data.skips import Cause, SkipError

_TYPOGRAPHIC = str.maketrans("\u2018\u2019\u201b\u02bc\u00b4\u0060", "''''''")
_ZERO_WIDTH_SPACE = "\u200b"
_PUNCTUATION = re.compile(
    '[-\u2010-\u2015_/.,!?;:"\u201c\u201d\u201e\u201a\u2039\u203a\u00ab\u00bb\u00a1\u00bf\u2026]'
)
_QUOTED = re.compile(r"(?<!\w)'((?:[^']|(?<=\w)'(?=\w))*)'(?!\w)")
_LOOSE_APOSTROPHE = re.compile(r"(?<!\w)'(?!\w)")


def normalise(text: str, language: Language = ENGLISH) -> str:
    """A written transcript as words of the language's letters and apostrophe.

    Case and punctuation go, as do accents on letters that the language does not have; hyphens,
    dashes and white space of any kind part words; format characters (soft hyphens, byte order
    marks) go; numbers and signs with one reading are spelled out; an apostrophe, typographic ones
    included, stays where it belongs to a word, and goes as a quote.

    Args:
      text: any written text.
      language: its language.

    Returns:
      The words, one space between, at least one.

    Raises:
      SkipError: nothing is left, a number has several readings, or a character is none of letters,
        digits, common punctuation and spoken signs.
    """
    text = text.translate(_TYPOGRAPHIC).replace(_ZERO_WIDTH_SPACE, " ")
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = "".join(_fold(c, language) for c in unicodedata.normalize("NFKC", text))
    if language.spell_numbers is not None:
        text = language.spell_numbers(text)
    elif number := re.search(r"\d+", text):
        raise SkipError(Cause.AMBIGUOUS_NUMBER, number.group())
    for sign, word in language.spoken_signs.items():
        text = text.replace(sign, word)
    text = _PUNCTUATION.sub(" ", text.lower())
    text = _QUOTED.sub(r" \1 ", text)
    return check_normalised(" ".join(_LOOSE_APOSTROPHE.sub(" ", text).split()), language)


def _fold(character: str, language: Language) -> str:
    """The character if the language has it, and else without its accents."""
    if character.lower() in language.letters:
        return character
    parts = unicodedata.normalize("NFKD", character)
    return "".join(c for c in parts if not unicodedata.combining(c))


def check_normalised(text: str, language: Language = ENGLISH) -> str:
    """Returns `text` if it is normalised already, and raises `SkipError` if it is not."""
    if not text.replace("'", "").strip():
        raise SkipError(Cause.EMPTY_TEXT, repr(text))
    odd = set(text) - set(language.characters)
    if odd or text != " ".join(text.split(" ")).strip(" ") or "  " in text:
        shown = "".join(sorted(odd)) or "spaces"
        raise SkipError(Cause.ODD_CHARACTERS, f"{shown} in {text[:60]!r}")
    return text


def transcript(written: str, language: Language = ENGLISH, normalising: bool = True) -> str:
    """The normalised transcript of a corpus' written one.

    Text that is normalised but for its case is taken as it stands.

    Args:
      written: as the corpus has it.
      language: its language.
      normalising: whether to normalise other text; False leaves it out.

    Raises:
      SkipError: the transcript cannot be normalised, or may not be.
    """
    lowered = written.lower()
    try:
        return check_normalised(lowered, language)
    except SkipError:
        if not normalising:
            raise
    return normalise(written, language)
