"""Values in the form they are compared in: dates as days, times as microseconds, names folded (PS3.4 C.2.2.2.1).

The same functions make the columns of the index and the parameters of a query, so that both sides mean the same.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from typing import NamedTuple

DAY = 86_400_000_000  # microseconds
MINUTE = 60_000_000

# In the columns for days and times: there is no value. NULL: there is one, but it is no date or time.
EMPTY = -1

_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")  # with periods as ACR-NEMA had them (PS3.5 6.2, note to DA)
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?")
_MOMENT = re.compile(r"(\d{4})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:\.(\d{1,6}))?)?)?)?)?)?([+-]\d{4})?")
_ZONE = re.compile(r"([+-])(\d{2})(\d{2})")


class Span(NamedTuple):
    """First and last number of what a date or time stands for: one with fewer components is a longer time."""

    first: int
    last: int


def day(text: str) -> Span | None:
    """Return the day of a DA value as ordinal number, None if it is no date."""
    match = _DATE.fullmatch(text)
    try:
        number = date(*(int(part) for part in match.groups())).toordinal() if match else None
    except ValueError:
        return None
    return Span(number, number) if number is not None else None


def clock(text: str) -> Span | None:
    """Return the microseconds since midnight of a TM value, None if it is no time."""
    match = _TIME.fullmatch(text)
    return _clock(*match.groups()) if match else None


def _clock(hour: str, minute: str | None, second: str | None, fraction: str | None) -> Span | None:
    hours, minutes, seconds = int(hour), int(minute or 0), int(second or 0)
    if hours > 23 or minutes > 59 or seconds > 60:  # 60 is a leap second
        return None
    first = ((hours * 60 + minutes) * 60 + min(seconds, 59)) * 1_000_000
    length = 60 * MINUTE
    if minute is not None:
        length = MINUTE
    if second is not None:
        length = 1_000_000
    if fraction is not None:
        first += int(fraction.ljust(6, "0"))
        length = 10 ** (6 - len(fraction))
    return Span(first, first + length - 1)


def zone(text: str) -> int | None:
    """Return the minutes of an offset from UTC as ``+0100``, None if it is none."""
    match = _ZONE.fullmatch(text)
    if not match:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    return (-minutes if match[1] == "-" else minutes) if minutes <= 14 * 60 and int(match[3]) < 60 else None


def zone_text(minutes: int) -> str:
    """Return an offset from UTC as DICOM writes it."""
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"


def moment(text: str, local: int = 0) -> Span | None:
    """Return the microseconds in UTC of a DT value, None if it is no date and time.

    Parameters
    ----------
    text : str
        The value.
    local : int
        Offset from UTC, in minutes, of a value that does not name its own.
    """
    match = _MOMENT.fullmatch(text)
    if not match:
        return None
    year, month, day_, hour, minute, second, fraction, offset = match.groups()
    try:
        first = date(int(year), int(month or 1), int(day_ or 1)).toordinal()
        if day_:
            following = first + 1
        elif month:
            following = date(int(year) + int(month) // 12, int(month) % 12 + 1, 1).toordinal()
        else:
            following = date(int(year) + 1, 1, 1).toordinal()
    except ValueError:
        return None
    span = _clock(hour, minute, second, fraction) if hour else Span(0, (following - first) * DAY - 1)
    shift = zone(offset) if offset else local
    if span is None or shift is None:
        return None
    start = first * DAY - shift * MINUTE
    return Span(start + span.first, start + span.last)


class NameForms(NamedTuple):
    """A person name as it is compared: its three component groups folded, and its words with their sound."""

    alphabetic: str | None
    ideographic: str | None
    phonetic: str | None
    sound: str


def name(text: str) -> NameForms:
    """Return the forms of a PN value; a group that is absent is None, that of an empty name is ''."""
    groups = [fold(group) for group in text.split("=")[:3]]
    if not any(groups):
        return NameForms("", None, None, "")
    found = [group or None for group in groups] + [None, None]
    return NameForms(found[0], found[1], found[2], sounds(" ".join(groups)))


def fold(text: str) -> str:
    """Return a component group without case, accents and what is empty at its end.

    Letters are compared as in compatibility decomposition without the marks of Latin, Greek and Cyrillic; the marks of
    Kana make another letter and stay.
    """
    parts = unicodedata.normalize("NFKD", text)
    bare = "".join(letter for letter in parts if not "\u0300" <= letter <= "\u036f")
    folded = unicodedata.normalize("NFC", bare.casefold())
    components = [" ".join(component.split()) for component in folded.split("^")]
    return "^".join(components).rstrip("^")


_SEPARATORS = re.compile(r"[\s^=,.\-']+")


def words(folded: str) -> list[str]:
    """Return the words of a folded name, for fuzzy matching."""
    return [word for word in _SEPARATORS.split(folded) if word]


def sounds(folded: str) -> str:
    """Return the words of a folded name, each with the code of its sound, between spaces."""
    parts: list[str] = []
    for word in words(folded):
        parts.append(word)
        if code := soundex(word):
            parts.append(code)
    return f" {' '.join(parts)} " if parts else ""


_CODES = {
    letter: code for code, letters in enumerate(("bfpv", "cgjkqsxz", "dt", "l", "mn", "r"), 1) for letter in letters
}


def soundex(word: str) -> str:
    """Return the Soundex code of a word of Latin letters as ``S530``, '' for any other."""
    if not word.isascii() or not word.isalpha():
        return ""
    found, before = [], _CODES.get(word[0])
    for letter in word[1:]:
        code = _CODES.get(letter)
        if code and code != before:
            found.append(str(code))
        if letter not in "hw":  # they do not part letters of one code
            before = code
    return word[0].upper() + "".join(found)[:3].ljust(3, "0")
