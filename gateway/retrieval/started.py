"""When a study has started, compared as FHIR compares dates: both sides are times of some length (R5, search, date).

Moments are microseconds in UTC, counted as in `gateway.archive.forms`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from gateway.archive import forms
from gateway.archive.forms import Span
from gateway.retrieval.fhir import Offset

_VALUE = re.compile(
    r"(?P<prefix>[a-z]{2})?(?P<year>[0-9]{4})(-(?P<month>[0-9]{2})(-(?P<day>[0-9]{2})"
    r"(T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(:(?P<second>[0-9]{2})(\.(?P<fraction>[0-9]+))?)?"
    r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?"
)

_SECOND = 1_000_000

# Days by which the moment of a date may be apart from the date itself, whatever the zone.
_APART = 2

_FIRST, _LAST = 0, forms.DAY * (date.max.toordinal() + 1)


def _inside(asked: Span, found: Span) -> bool:
    return asked.first <= found.first and found.last <= asked.last


# Prefix: whether a moment fulfils it, and where such moments can begin and end.
_PREFIXES: dict[str, tuple[Callable[[Span, Span], bool], Callable[[Span], Span]]] = {
    "eq": (_inside, lambda asked: asked),
    "ne": (lambda asked, found: not _inside(asked, found), lambda asked: Span(_FIRST, _LAST)),
    "gt": (lambda asked, found: found.last > asked.last, lambda asked: Span(asked.last, _LAST)),
    "lt": (lambda asked, found: found.first < asked.first, lambda asked: Span(_FIRST, asked.first)),
    "ge": (
        lambda asked, found: found.last > asked.last or _inside(asked, found),
        lambda asked: Span(asked.first, _LAST),
    ),
    "le": (
        lambda asked, found: found.first < asked.first or _inside(asked, found),
        lambda asked: Span(_FIRST, asked.last),
    ),
    "sa": (lambda asked, found: found.first > asked.last, lambda asked: Span(asked.last, _LAST)),
    "eb": (lambda asked, found: found.last < asked.first, lambda asked: Span(_FIRST, asked.first)),
}


class Comparison(NamedTuple):
    """A value of the parameter: its prefix and the time it stands for."""

    prefix: str
    asked: Span

    def holds(self, found: Span) -> bool:
        """Tell whether a study that started in this time is meant."""
        return _PREFIXES[self.prefix][0](self.asked, found)

    @property
    def bounds(self) -> Span:
        """Between which moments such studies start."""
        return _PREFIXES[self.prefix][1](self.asked)


class Bounds(NamedTuple):
    """Between which moments all comparisons let studies start."""

    first: int = _FIRST
    last: int = _LAST

    def within(self, compared: Sequence[Comparison]) -> Bounds:
        """Return the bounds when one of some comparisons has to hold besides."""
        spans = [one.bounds for one in compared]
        return Bounds(
            max(self.first, min(span.first for span in spans)), min(self.last, max(span.last for span in spans))
        )

    @property
    def empty(self) -> bool:
        """Whether nothing is between them, days being as long as they are."""
        return self.first - forms.DAY > self.last

    def days(self) -> str:
        """Return a range of Study Date that leaves out nothing, empty if nothing is bounded."""
        if self == Bounds():
            return ""
        return f"{_day(self.first // forms.DAY - _APART)}-{_day(self.last // forms.DAY + _APART)}"


def _day(number: int) -> str:
    return date.fromordinal(min(max(number, 1), date.max.toordinal())).isoformat().replace("-", "")


def comparison(text: str, offset: Offset | None = None) -> Comparison | None:
    """Return a value of the parameter, None if it is none.

    Parameters
    ----------
    text : str
        Prefix and date, with as much of the date as is meant.
    offset : callable, optional
        Distance from UTC of a time that does not say its own.
    """
    match = _VALUE.fullmatch(text.replace(" ", "+"))  # what a plus sign becomes in a URL
    if match is None or (match["prefix"] or "eq") not in _PREFIXES:
        return None
    parts = [match[name] or "" for name in ("year", "month", "day", "hour", "minute", "second")]
    fraction = f".{match['fraction'][:6]}" if match["fraction"] else ""
    zone = {"": "", "Z": "+0000"}.get(match["zone"] or "", (match["zone"] or "").replace(":", ""))
    local = _local(parts[0] + (parts[1] or "01") + (parts[2] or "01"), offset)
    span = forms.moment("".join(parts) + fraction + zone, local)
    return Comparison(match["prefix"] or "eq", span) if span else None


def span_of(day: str, clock: str, zone: str, offset: Offset | None = None) -> Span | None:
    """Return the time that `started` of a study stands for, None if it has none.

    Parameters
    ----------
    day, clock, zone : str
        Study Date, Study Time and Timezone Offset From UTC.
    offset : callable, optional
        Distance from UTC of a local time; without it a time that does not say its own is not said at all.
    """
    date_, time = forms.day(day), forms.clock(clock) if clock else None
    if date_ is None:
        return None
    own = forms.zone(zone)
    start = date_.first * forms.DAY - (_local(day, offset) if own is None else own) * forms.MINUTE
    if time is None or (own is None and offset is None):
        return Span(start, start + forms.DAY - 1)
    return Span(start + time.first, start + time.first + min(time.last - time.first, _SECOND - 1))


def _local(day: str, offset: Offset | None) -> int:
    """Return the minutes from UTC of this place on a day."""
    digits = day.replace(".", "")
    try:
        moment = datetime(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return 0
    known = offset(moment) if offset else None
    return round((known or timedelta()).total_seconds() / 60)
