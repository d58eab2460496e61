"""Languages of corpora: their letters, and how numbers and signs are spelled out."""

import dataclasses
from collections.abc import Callable, Mapping

from data import english


@dataclasses.dataclass(frozen=True)
class Language:
    """Rules of normalised transcripts in a language.

    Attributes:
      code: BCP 47 tag.
      letters: lower-case letters in composed form (NFC); other accented letters lose their accent.
      spell_numbers: function that spells the numbers of a text and raises `SkipError` for ambiguous
        ones; None skips every transcript with a digit.
      spoken_signs: word of each sign, with surrounding spaces.
    """

    code: str
    letters: str
    spell_numbers: Callable[[str], str] | None = None
    spoken_signs: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def characters(self) -> str:
        """Characters of a normalised transcript, also those of a character tokenizer."""
        return " '" + self.letters


_LATIN = "abcdefghijklmnopqrstuvwxyz"

ENGLISH = Language("en", _LATIN, english.spell_numbers, english.SPOKEN_SIGNS)

# Numbers are inflected in the other languages ("ein", "einem"), so digits are ambiguous.
LANGUAGES = {
    language.code: language
    for language in (
        ENGLISH,
        Language("de", _LATIN + "äöüß", spoken_signs={"%": " prozent ", "&": " und "}),
        Language("es", _LATIN + "áéíñóúü", spoken_signs={"%": " por ciento "}),
        Language("fr", _LATIN + "àâæçèéêëîïôùûüÿœ", spoken_signs={"%": " pour cent "}),
        Language("it", _LATIN + "àèéìíîòóùú", spoken_signs={"%": " per cento "}),
        Language("ru", "абвгдежзийклмнопрстуфхцчшщъыьэюяё"),
    )
}
"""Languages by code."""
