"""Dates with their times: moved to another zone, and as one range when that was negotiated (PS3.4 C.2.2.2.5.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.archive import forms
from gateway.archive.matching import FIRST, LAST, NOTHING, Asked, Options, Sql, joined, or_blank, span_of, wanted


@dataclass(frozen=True)
class Moment:
    """A date and its time of one entity, in SQL.

    Attributes
    ----------
    day, clock : Sql
        `forms.EMPTY` when there is none, NULL when it cannot be understood.
    zone : str
        SQL of the entity's offset from UTC in minutes, NULL if it is not known.
    narrow : str
        A column with the day that has an index, if there is one.
    """

    day: Sql
    clock: Sql
    zone: str
    narrow: str = ""

    @property
    def no_day(self) -> Sql:
        """The condition that there is no date."""
        return Sql(f"{self.day.text} = {forms.EMPTY}", self.day.values)

    @property
    def no_clock(self) -> Sql:
        """The condition that there is no time."""
        return Sql(f"{self.clock.text} = {forms.EMPTY}", self.clock.values)

    def shift(self, zone: int | None) -> Sql:
        """Return the microseconds from the entity's zone to another; one that does not say its zone is in that one."""
        if zone is None:
            return Sql("0")
        return Sql(f"((? - coalesce({self.zone}, ?)) * {forms.MINUTE})", (zone, zone))

    def moved(self, zone: int | None) -> Sql:
        """Return the entity's moment in a zone, in microseconds."""
        shift = self.shift(zone)
        text = f"({self.day.text} * {forms.DAY} + {self.clock.text} + {shift.text})"
        return Sql(text, (*self.day.values, *self.clock.values, *shift.values))


def in_moment(date: Asked | None, time: Asked | None, place: Moment, options: Options) -> Sql | None:
    """Return the condition of a date and its time that belong together, None if everything matches."""
    if options.combined and date and time and range_form(date) and range_form(date) == range_form(time):
        return _combined(date, time, place, options)
    parts = []
    if date and (values := wanted(date, options)):
        parts.append(_date(date, values, place, options))
    if time and (values := wanted(time, options)):
        parts.append(_time(time, values, place, options))
    return joined(parts, "AND") if parts else None


def range_form(asked: Asked) -> tuple[bool, bool] | None:
    """Return whether a range has a first and a last value; None if the key is no single range."""
    if len(asked.values) != 1 or "-" not in asked.values[0]:
        return None
    text = asked.values[0].strip()
    return not text.startswith("-"), not text.endswith("-")


def _combined(date: Asked, time: Asked, place: Moment, options: Options) -> Sql:
    """Compare date and time as one; what has no time matches by its date if what is empty matches."""
    days, clocks = span_of(date, date.values[0], options), span_of(time, time.values[0], options)
    has_first, has_last = range_form(date) or (False, False)
    first = days.first * forms.DAY + clocks.first if has_first else FIRST
    last = days.last * forms.DAY + clocks.last if has_last else LAST
    exactly = _between(place.moved(options.zone), [forms.Span(first, last)])
    within = joined((_not(place.no_day), _not(place.no_clock), exactly), "AND")
    roughly = joined((place.no_clock, _between(place.day, [days])), "AND")
    found = joined((place.no_day, within, roughly), "OR") if options.empty_matches else within
    return _narrowed(found, place, [days], options)


def _date(asked: Asked, values: tuple[str, ...], place: Moment, options: Options) -> Sql:
    """Compare the date in the zone of the request; without a time it is as it is."""
    if values == (NOTHING,) and options.empty:
        return place.no_day
    spans = [span_of(asked, value, options) for value in values]
    moved = place.moved(options.zone)
    local = Sql(
        f"CASE WHEN {place.clock.text} >= 0 THEN {moved.text} / {forms.DAY} ELSE {place.day.text} END",
        (*place.clock.values, *moved.values, *place.day.values),
    )
    found = joined((_not(place.no_day), _between(local, spans)), "AND")
    return _narrowed(or_blank(found, place.no_day, options), place, spans, options)


def _time(asked: Asked, values: tuple[str, ...], place: Moment, options: Options) -> Sql:
    """Compare the time of day in the zone of the request."""
    if values == (NOTHING,) and options.empty:
        return place.no_clock
    shift = place.shift(options.zone)
    turned = Sql(
        # Zones are less than two days apart; the remainder of a negative number would be negative.
        f"(({place.clock.text} + {shift.text} + {2 * forms.DAY}) % {forms.DAY})",
        (*place.clock.values, *shift.values),
    )
    spans = [span_of(asked, value, options) for value in values]
    return or_blank(joined((_not(place.no_clock), _between(turned, spans)), "AND"), place.no_clock, options)


def _not(condition: Sql) -> Sql:
    return Sql(f"NOT {condition.text}", condition.values)


def _between(expression: Sql, spans: Sequence[forms.Span]) -> Sql:
    return joined((Sql(f"{expression.text} BETWEEN ? AND ?", (*expression.values, *span)) for span in spans), "OR")


def _narrowed(condition: Sql, place: Moment, spans: Sequence[forms.Span], options: Options) -> Sql:
    """Add what an index can answer: no zone moves a date by more than two days."""
    if not place.narrow:
        return condition
    wide = [forms.Span(span.first - 2, span.last + 2) for span in spans]
    roughly = or_blank(_between(Sql(place.narrow), wide), Sql(f"{place.narrow} = {forms.EMPTY}"), options)
    return joined((roughly, condition), "AND")
