"""Spelling of English numbers and signs that have only one reading."""

import re

from data.skips import Cause, SkipError

# fmt: off
_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
# fmt: on
_IRREGULAR_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
SPOKEN_SIGNS = {"&": " and ", "%": " percent ", "+": " plus ", "@": " at ", "=": " equals "}

_NUMBER = re.compile(r"\d(?:[\d.,:/-]*\d)?(?:(?:st|nd|rd|th)\b)?", re.IGNORECASE)
_CARDINAL = re.compile(r"0|[1-9]\d?|[1-9]00|[1-9]\d{0,5}000|[1-9]\d{0,2}(?:,\d{3}){1,2}")
_DECIMAL = re.compile(r"(0|[1-9]\d?)\.(\d+)")
_ORDINAL = re.compile(r"([1-9]\d{0,2})(?:st|nd|rd|th)", re.IGNORECASE)


def number_words(number: int) -> str:
    """Spells a cardinal, without "and": 1,234 -> "one thousand two hundred thirty four".

    Args:
      number: 0 to 999,999,999.

    Raises:
      ValueError: the number is out of range.
    """
    if not 0 <= number < 10**9:
        raise ValueError(f"{number} is not in [0, 999999999]")
    for size, name in ((10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = f" {number_words(number % size)}" if number % size else ""
            return f"{number_words(number // size)} {name}{rest}"
    if number < 20:
        return _ONES[number]
    rest = f" {_ONES[number % 10]}" if number % 10 else ""
    return _TENS[number // 10 - 2] + rest


def ordinal_words(number: int) -> str:
    """Spells an ordinal: 21 -> "twenty first"; the range is that of `number_words`."""
    *head, last = number_words(number).split()
    if last in _IRREGULAR_ORDINALS:
        last = _IRREGULAR_ORDINALS[last]
    else:
        last = last[:-1] + "ieth" if last.endswith("y") else last + "th"
    return " ".join([*head, last])


def _spell(match: re.Match[str]) -> str:
    """Returns the only reading of a number, or raises `SkipError`.

    Three or more digits may be read as a cardinal, digit by digit, in pairs or as a year. Only
    round numbers and digits grouped by commas are always cardinals. "007", "2/3" and "94-18" are
    ambiguous.
    """
    written = match.group()
    if _CARDINAL.fullmatch(written):
        words = number_words(int(written.replace(",", "")))
    elif decimal := _DECIMAL.fullmatch(written):
        digits = " ".join(_ONES[int(digit)] for digit in decimal[2])
        words = f"{number_words(int(decimal[1]))} point {digits}"
    elif ordinal := _ORDINAL.fullmatch(written):
        words = ordinal_words(int(ordinal[1]))
    else:
        raise SkipError(Cause.AMBIGUOUS_NUMBER, written)
    return f" {words} "


def spell_numbers(text: str) -> str:
    """Spells every number that has one reading: "2" -> " two ".

    Raises:
      SkipError: a number has several readings ("1999", "$5"): a wrong transcript is worse than a
        missing one.
    """
    return _NUMBER.sub(_spell, text)
