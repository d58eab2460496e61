import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.english import number_words, ordinal_words
from data.languages import LANGUAGES
from data.skips import Cause, SkipError
from data.text import check_normalised, normalise, transcript


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Hello, World!", "hello world"),
        ("press 2 -- now...", "press two now"),
        ("20,000 years", "twenty thousand years"),
        ("57,283", "fifty seven thousand two hundred eighty three"),
        ("a 5000 year-old", "a five thousand year old"),
        ("100 crew", "one hundred crew"),
        ("2.7 units", "two point seven units"),
        ("28.80", "twenty eight point eight zero"),
        ("the 17th and 22nd", "the seventeenth and twenty second"),
        ("3D audio", "three d audio"),
        ("1. First", "one first"),
        ("salt & pepper, 5%", "salt and pepper five percent"),
        ("Café déjà-vu", "cafe deja vu"),
        ("don\u2019t `quote' me", "don't quote me"),
        ("he said 'it's fine'.", "he said it's fine"),
        ("the captains' ship", "the captains' ship"),
        ("'tis o'clock", "'tis o'clock"),
    ],
)
def test_normalise(written, spoken):
    assert normalise(written) == spoken
    assert check_normalised(spoken) == spoken


@pytest.mark.parametrize("written", ["1999", "343 years", "007", "2/3", "1-900", "94-18", "022.9"])
def test_normalise_rejects_numbers_with_several_readings(written):
    with pytest.raises(SkipError) as raised:
        normalise(f"in {written} we said")
    assert raised.value.cause == Cause.AMBIGUOUS_NUMBER


@pytest.mark.parametrize(
    ("written", "cause"),
    [
        ("", Cause.EMPTY_TEXT),
        (" ...!", Cause.EMPTY_TEXT),
        ("''", Cause.EMPTY_TEXT),
        ("costs $5", Cause.ODD_CHARACTERS),
        ("[noise]", Cause.ODD_CHARACTERS),
        ("привет", Cause.ODD_CHARACTERS),
    ],
)
def test_normalise_rejects_with_the_cause(written, cause):
    with pytest.raises(SkipError) as raised:
        normalise(written)
    assert raised.value.cause == cause


@given(st.text(max_size=60))
def test_normalise_is_idempotent_and_of_the_alphabet(text):
    try:
        normalised = normalise(text)
    except SkipError:
        return
    assert re.fullmatch(r"[a-z']+( [a-z']+)*", normalised)
    assert normalise(normalised) == normalised


@pytest.mark.parametrize("text", ["Upper", "two  spaces", " led", "digit 1", "dot."])
def test_check_normalised_rejects(text):
    with pytest.raises(SkipError):
        check_normalised(text)


def test_number_words():
    assert number_words(0) == "zero"
    assert number_words(19) == "nineteen"
    assert number_words(80) == "eighty"
    assert number_words(1234) == "one thousand two hundred thirty four"
    assert number_words(12_000_005) == "twelve million five"
    assert [ordinal_words(n) for n in (1, 8, 12, 20, 21, 100)] == [
        "first",
        "eighth",
        "twelfth",
        "twentieth",
        "twenty first",
        "one hundredth",
    ]
    for number in (-1, 10**9):
        with pytest.raises(ValueError, match="not in"):
            number_words(number)


@pytest.mark.parametrize("code", sorted(LANGUAGES))
@given(
    text=st.text(st.one_of(st.characters(), st.sampled_from("äöüßéœёйñ'’-0\u0301")), max_size=40)
)
def test_normalise_is_idempotent_in_every_language(code, text):
    language = LANGUAGES[code]
    try:
        normalised = normalise(text, language)
    except SkipError:
        return
    assert set(normalised) <= set(language.characters)
    assert normalise(normalised, language) == normalised
    assert transcript(normalised.upper(), language) == normalised or "ß" in normalised


def test_a_normalised_transcript_is_taken_as_it_stands():
    assert normalise("rock ' n ' roll") == "rock n roll"
    assert transcript("ROCK ' N ' ROLL") == "rock ' n ' roll"
