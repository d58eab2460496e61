"""Foreign accents: English phonemes as speakers of other languages pronounce them.

Each accent is a list of substitutions, after the descriptions of learners' pronunciation in Swan
and Smith 2001, "Learner English", second edition. They are coarse: real speakers substitute now and
then, these always.
"""

import re

ACCENTS: dict[str, tuple[tuple[str, str], ...]] = {
    "french": (
        ("θ", "s"), ("ð", "z"), ("h", ""), ("ɹ", "ʁ"), ("ɪ", "i"), ("ʌ", "œ"), ("ʧ", "ʃ"),
        ("ʤ", "ʒ"),
    ),
    "german": (
        ("θ", "s"), ("ð", "z"), ("w", "v"), ("ɹ", "ʁ"), ("æ", "ɛ"), ("ʤ", "ʧ"),
        (r"\bs(?=[ˈˌ]?[aɑɒæɛəiɪuʊʌAIOWYQ])", "z"),
        (r"z\b", "s"), (r"d\b", "t"), (r"v\b", "f"), (r"ɡ\b", "k"), (r"b\b", "p"),
    ),
    "hindi": (
        ("θ", "t"), ("ð", "d"), ("[wv]", "ʋ"), ("t", "ʈ"), ("d", "ɖ"), ("ɹ", "ɾ"), ("æ", "ɛ"),
    ),
    "mandarin": (
        ("θ", "s"), ("ð", "d"), ("v", "w"), ("æ", "ɛ"), ("ɪ", "i"), (r"z\b", "s"),
        (r"d\b", "t"), (r"ɡ\b", "k"), (r"b\b", "p"), (r"l\b", "ɔ"),
    ),
    "russian": (
        ("θ", "s"), ("ð", "z"), ("w", "v"), ("h", "x"), ("ɹ", "r"), ("ɪ", "i"), ("æ", "ɛ"),
        (r"z\b", "s"), (r"d\b", "t"), (r"v\b", "f"), (r"ɡ\b", "k"), (r"b\b", "p"),
    ),
    "spanish": (
        ("θ", "t"), ("ð", "d"), ("v", "b"), ("z", "s"), ("ɹ", "ɾ"), ("h", "x"), ("ɪ", "i"),
        ("æ", "a"), ("ʌ", "a"), ("ʃ", "ʧ"), ("ʤ", "j"), (r"\bs(?=[ptkmnl])", "ɛs"),
    ),
}  # fmt: skip
"""Name -> patterns and what takes their place, in order; ``\\b`` is an end of a word."""


def with_accent(phonemes: str, accent: str) -> str:
    """Returns the phonemes of a sentence as speakers of another language say them.

    Args:
      phonemes: words in the symbols of `kokoro`'s network, American or British.
      accent: a name in `ACCENTS`.
    """
    for pattern, replacement in ACCENTS[accent]:
        phonemes = re.sub(pattern, replacement, phonemes)
    return phonemes
