"""Normalisation of transcripts: words of letters and apostrophes, separated by single spaces.

Numbers and signs with only one reading are spelled out ("2" -> "two", "&" -> "and"). Text with
several readings ("1999", "$5") is an error, because a wrong transcript is worse than a missing one.
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
    """Normalises written text to words of the letters of a language and apostrophes.

    Removes case, punctuation, format characters (soft hyphens, byte order marks) and accents that
    the language does not use. Hyphens, dashes and any white space separate words. Numbers and signs
    with one reading are spelled out. Apostrophes, including typographic ones, are kept within words
    and removed as quotation marks.

    Args:
      text: any written text.
      language: language of the text.

    Returns:
      At least one word; words are separated by single spaces.

    Raises:
      SkipError: no word is left, a number has several readings, or a character is not a letter,
        digit, common punctuation mark or spoken sign.
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
    """Removes the accents of a character unless it is a letter of the language."""
    if character.lower() in language.letters:
        return character
    parts = unicodedata.normalize("NFKD", character)
    return "".join(c for c in parts if not unicodedata.combining(c))


def check_normalised(text: str, language: Language = ENGLISH) -> str:
    """Checks that a text is normalised and returns it.

    Args:
      text: text to check.
      language: language of the text.

    Raises:
      SkipError: the text is not normalised.
    """
    if not text.replace("'", "").strip():
        raise SkipError(Cause.EMPTY_TEXT, repr(text))
    odd = set(text) - set(language.characters)
    if odd or text != " ".join(text.split(" ")).strip(" ") or "  " in text:
        shown = "".join(sorted(odd)) or "spaces"
        raise SkipError(Cause.ODD_CHARACTERS, f"{shown} in {text[:60]!r}")
    return text


def transcript(written: str, language: Language = ENGLISH, normalising: bool = True) -> str:
    """Returns the normalised form of a written transcript of a corpus.

    Text that is normalised except for its case is only lower-cased.

    Args:
      written: transcript as stored in the corpus.
      language: language of the transcript.
      normalising: whether to normalise other text; if False, it is an error.

    Raises:
      SkipError: the transcript cannot be normalised, or needs normalisation and ``normalising`` is
        False.
    """
    lowered = written.lower()
    try:
        return check_normalised(lowered, language)
    except SkipError:
        if not normalising:
            raise
    return normalise(written, language)
