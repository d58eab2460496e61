"""Languages of corpora: their letters, and what of a written transcript can be spelled out."""

import dataclasses
from collections.abc import Callable, Mapping

from data import english


@dataclasses.dataclass(frozen=True)
class Language:
    """How the words of a language are written in a normalised transcript.

    Attributes:
      code: BCP 47 tag.
      letters: lower-case letters, in Unicode's composed form (NFC); accented ones that are not
        among them lose their accent.
      spell_numbers: numbers to words, or `SkipError` for what has several readings; None leaves
        out every transcript with a digit.
      spoken_signs: sign to word, with spaces around it.
    """

    code: str
    letters: str
    spell_numbers: Callable[[str], str] | None = None
    spoken_signs: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def characters(self) -> str:
        """Characters of a normalised transcript: those of a character tokenizer."""
        return " '" + self.letters


_LATIN = "abcdefghijklmnopqrstuvwxyz"

ENGLISH = Language("en", _LATIN, english.spell_numbers, english.SPOKEN_SIGNS)

# Numbers of the others are inflected ("ein", "einem"), so digits have several readings in them.
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
"""Language by its code; a new one is one line."""
