"""Matching as PS3.4 C.2.2.2 says it, straight from the values of objects: no index, no SQL, nothing of the gateway.

Entities are dictionaries of keyword and value: text, a list of values, or a list of items. What the text leaves to an
implementation is as gateway/docs/query.md has it.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from datetime import datetime, timedelta
from typing import Any

DATES = {"StudyDate": "StudyTime", "SeriesDate": "SeriesTime", "ContentDate": "ContentTime"}
TIMES = {time: date for date, time in DATES.items()}
NAMES = {"PatientName", "ReferringPhysicianName", "OtherPatientNames", "OperatorsName"}
LONE_DATES = {"PatientBirthDate"}
NUMBERS = {"SeriesNumber", "InstanceNumber", "PatientSize"}
UIDS = {"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "SOPClassesInStudy"}
EXACT = {"PatientAge"}
MANY = {"OtherPatientNames", "ModalitiesInStudy", "OperatorsName", "ImageType"}  # VM greater than 1


class Rules:
    """What was negotiated, and whether what has no value matches every value (C.2.2.1.2)."""

    def __init__(
        self,
        combined: bool = False,
        fuzzy: bool = False,
        zone: int | None = None,
        empty: bool = False,
        multiple: bool = False,
        letter: bool = False,
    ) -> None:
        self.combined, self.fuzzy, self.zone, self.empty, self.multiple = combined, fuzzy, zone, empty, multiple
        self.letter = letter


def matches(entity: dict[str, Any], asked: dict[str, Any], rules: Rules, zone: int | None = None) -> bool:
    """Whether an entity matches every key; a key is a list of values, or the keys of an item."""
    joined = set()
    if rules.combined:
        for date, time in DATES.items():
            if date in asked and time in asked and _both_ranges(asked[date], asked[time]):
                joined |= {date, time}
                if not _combined(
                    entity.get(date, ""), entity.get(time, ""), asked[date][0], asked[time][0], rules, zone
                ):
                    return False
    return all(_key(entity, keyword, value, rules, zone) for keyword, value in asked.items() if keyword not in joined)


def _key(entity: dict[str, Any], keyword: str, asked: Any, rules: Rules, zone: int | None) -> bool:
    held = entity.get(keyword, "")
    if isinstance(asked, dict):
        if not held:
            return rules.letter or matches({}, asked, rules)
        return any(matches(item, asked, rules) for item in held)
    held = [held] if isinstance(held, str) else list(held)
    blank = not any(held)
    wanted = [value for value in asked if value]
    if all(_anything(keyword, one) for one in wanted):
        return True
    if any(_anything(keyword, one) for one in wanted) and not _several(keyword, asked, rules):
        return True
    if wanted == ['""'] and rules.empty and keyword not in UIDS | NUMBERS | EXACT:
        return blank
    if blank:
        return rules.letter
    one_by_one = [
        any(_value(keyword, value, one, entity, rules, zone) for value in held if value or keyword not in DATES)
        for one in wanted
    ]
    if _several(keyword, asked, rules):
        return all(found or _anything(keyword, one) for found, one in zip(one_by_one, wanted, strict=True))
    return any(one_by_one)


def _several(keyword: str, asked: list[str], rules: Rules) -> bool:
    return rules.multiple and keyword in MANY and len(asked) > 1


def _anything(keyword: str, one: str) -> bool:
    return not one.strip("*=" if keyword in NAMES else "*")


def _value(keyword: str, value: str, one: str, entity: dict[str, Any], rules: Rules, zone: int | None) -> bool:
    if keyword in NAMES:
        return _fuzzy(value, one) if rules.fuzzy else _name(value, one)
    if keyword in LONE_DATES:
        return _between(_day(value), one, _day, None)
    if keyword in DATES:
        moment = _moment(value, entity.get(DATES[keyword], ""), rules, zone) or _day(value)  # without a time as it is
        return moment is not None and _between(
            moment.replace(hour=0, minute=0, second=0, microsecond=0), one, _day, None
        )
    if keyword in TIMES:
        moment = _moment("20000115", value, rules, zone)
        return moment is not None and _in_clock(moment, one)
    if keyword in NUMBERS:
        return float(value) == float(one)
    if keyword in UIDS or keyword in EXACT:
        return value == one
    return _glob(value, one)


def _glob(value: str, pattern: str) -> bool:
    return re.fullmatch(fnmatch.translate(pattern.replace("[", "[[]")), value) is not None


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKD", text)
    text = "".join(letter for letter in text if not 0x300 <= ord(letter) < 0x370).casefold()
    text = unicodedata.normalize("NFC", text)
    return re.sub(r"\^+$", "", "^".join(" ".join(part.split()) for part in text.split("^")))


def _name(value: str, asked: str) -> bool:
    held, wanted = ([_plain(group) for group in text.split("=")] for text in (value, asked))
    if len(wanted) == 1:
        return any(_glob(group, wanted[0]) for group in held if group)
    for number, group in enumerate(wanted):
        if not group.strip("*"):
            continue
        if number >= len(held) or not held[number] or not _glob(held[number], group):
            return False
    return True


def _words(text: str) -> list[str]:
    return [word for group in text.split("=") for word in re.split(r"[\s^,.'-]+", _plain(group)) if word]


def _fuzzy(value: str, asked: str) -> bool:
    held = _words(value)
    for word in _words(asked):
        if not word.strip("*"):
            continue
        if "*" in word or "?" in word:
            codes = [part for one in held for part in (one, _soundex(one)) if part]
            if not _glob(f" {' '.join(codes)} ", f"* {word} *"):
                return False
        elif not any(one.startswith(word) or (_soundex(word) and _soundex(one) == _soundex(word)) for one in held):
            return False
    return True


def _soundex(word: str) -> str:
    """By the rules of the National Archives of the United States."""
    if not re.fullmatch("[a-z]+", word):
        return ""
    table = str.maketrans("bfpvcgjkqsxzdtlmnr", "111122222222334556")
    bare = word[0] + re.sub("[hw]", "", word[1:])
    digits = re.sub(r"([1-6])\1+", r"\1", bare.translate(table))
    first = bare[0].translate(table)
    rest = digits[1:] if digits[0] == first else digits
    return (word[0].upper() + re.sub(r"\D", "", rest) + "000")[:4]


def _day(text: str) -> datetime | None:
    try:
        return datetime.strptime(text.replace(".", ""), "%Y%m%d")
    except ValueError:
        return None


def _clock(text: str) -> tuple[timedelta, timedelta] | None:
    """First and last moment of a time of day."""
    match = re.fullmatch(r"(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?", text)
    if not match or int(match[1]) > 23 or int(match[2] or 0) > 59 or int(match[3] or 0) > 59:
        return None
    fraction = match[4] or ""
    start = timedelta(
        hours=int(match[1]),
        minutes=int(match[2] or 0),
        seconds=int(match[3] or 0),
        microseconds=int(fraction.ljust(6, "0") or 0),
    )
    lengths = [timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)]
    length = (
        timedelta(microseconds=10 ** (6 - len(fraction))) if fraction else lengths[2 - (match.groups()[:3]).count(None)]
    )
    return start, start + length - timedelta(microseconds=1)


def _moment(date: str, time: str, rules: Rules, zone: int | None) -> datetime | None:
    """Date and time in the zone of the request."""
    day, clock = _day(date), _clock(time)
    if day is None or clock is None:
        return None
    if rules.zone is None:
        return day + clock[0]
    return day + clock[0] + timedelta(minutes=rules.zone - (rules.zone if zone is None else zone))


def _range(text: str) -> tuple[str, str] | None:
    return tuple(part.strip() for part in text.split("-", 1)) if "-" in text else None  # type: ignore[return-value]


def _between(value: datetime | None, asked: str, parse: Any, _: None) -> bool:
    if value is None:
        return False
    bounds = _range(asked)
    if bounds is None:
        return value == parse(asked)
    first, last = bounds
    return (not first or parse(first) <= value) and (not last or value <= parse(last))


def _in_clock(moment: datetime, asked: str) -> bool:
    time = moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)
    bounds = _range(asked)
    if bounds is None:
        return time == _clock(asked)[0]  # type: ignore[index]
    first, last = bounds
    return (not first or _clock(first)[0] <= time) and (not last or time <= _clock(last)[1])  # type: ignore[index]


def _both_ranges(date: list[str], time: list[str]) -> bool:
    if len(date) != 1 or len(time) != 1 or "-" not in date[0] or "-" not in time[0]:
        return False
    return [bool(part) for part in _range(date[0]) or ()] == [bool(part) for part in _range(time[0]) or ()]


def _combined(date: str, time: str, days: str, clocks: str, rules: Rules, zone: int | None) -> bool:
    if not date:
        return rules.letter
    if not time:
        return rules.letter and _between(_day(date), days, _day, None)
    moment = _moment(date, time, rules, zone)
    if moment is None:
        return False
    (first, last), (begin, end) = _range(days), _range(clocks)  # type: ignore[misc]
    if first and moment < _day(first) + _clock(begin)[0]:  # type: ignore[operator, index]
        return False
    return not (last and moment > _day(last) + _clock(end)[1])  # type: ignore[operator, index]
