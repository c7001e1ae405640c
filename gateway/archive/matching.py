"""Keys to conditions of SQL: every kind of matching (PS3.4 C.2.2.2). Values of a request are parameters, never text.

An entity without a value for a key matches only what matches everything: no key value, ``*``, and ``""`` where that was
negotiated. With `Options.empty_matches` it matches whatever is asked (C.2.2.1.2; optional keys are processed like
required ones, C.2.2.1.3).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydicom.datadict import dictionary_description, dictionary_VM
from pydicom.tag import Tag

from gateway.archive import forms
from gateway.archive.attributes import BINARY_NUMBERS, FORMED, NUMERIC_TEXT, member
from gateway.errors import MismatchError

# C.2.2.2.4, C.2.2.2.7 and C.2.2.2.8.
WILD_CARDS = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
EMPTY_VALUES = frozenset(("AE", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"))
MULTIPLE_VALUES = frozenset(("AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC"))
RANGES = frozenset(("DA", "TM", "DT"))

NOTHING = '""'

# What a wild card pattern may look like: SQLite tries every way that a value can fit it.
LONGEST_PATTERN = 1024
MOST_STARS = 16

# Of one key; a list of UIDs is one parameter however long.
MOST_VALUES = 100

# Bounds of a range without one.
FIRST, LAST = -(1 << 62), 1 << 62
_BEYOND = "\U0010ffff"


class KeyValueError(MismatchError):
    """A key with a value that cannot be matched (status A900).

    Parameters
    ----------
    tag : int
        The Offending Element.
    problem : str
        What is wrong with it.
    """

    def __init__(self, tag: int, problem: str, **details: Any) -> None:
        self.tag = tag
        try:
            name = dictionary_description(tag)
        except KeyError:
            name = "attribute"
        super().__init__(f"{name} {Tag(tag)}", problem, **details)


@dataclass(frozen=True)
class Asked:
    """A key of a request.

    Attributes
    ----------
    tag : int
        The attribute.
    vr : str
        Its VR by the data dictionary.
    values : tuple of str
        What is asked for; none is universal matching.
    items : tuple of Asked
        The keys of the one item of a sequence.
    """

    tag: int
    vr: str
    values: tuple[str, ...] = ()
    items: tuple[Asked, ...] = ()


@dataclass(frozen=True)
class Options:
    """How keys are matched, by what was negotiated (PS3.4 C.5.1.1).

    Attributes
    ----------
    combined : bool
        Ranges of a date and its time are one range.
    fuzzy : bool
        Person names match by sound.
    zone : int or None
        Offset from UTC, in minutes, of dates and times in the request, if they are to be adjusted.
    empty, multiple : bool
        Empty Value Matching and Multiple Value Matching.
    exact : bool
        Not as DICOM has it: keys in columns and modalities are compared letter by letter, without wild cards.
    empty_matches : bool
        What has no value matches every value (C.2.2.1.2).
    """

    combined: bool = False
    fuzzy: bool = False
    zone: int | None = None
    empty: bool = False
    multiple: bool = False
    exact: bool = False
    empty_matches: bool = False


class Sql(NamedTuple):
    """A piece of a statement and the values of its parameters, in order."""

    text: str
    values: tuple[Any, ...] = ()


def joined(parts: Iterable[Sql], word: str) -> Sql:
    """Join conditions by AND or OR."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    text = f" {word} ".join(part.text for part in parts)
    return Sql(f"({text})", tuple(value for part in parts for value in part.values))


@dataclass(frozen=True)
class Column:
    """A key with one value in columns.

    Attributes
    ----------
    shown : str
        SQL of the value as it is returned.
    forms : tuple of str
        SQL of the form it is compared in: one expression, four for a name.
    blank : str
        SQL that is true for an entity without a value.
    """

    shown: str
    forms: tuple[str, ...]
    blank: str


def text_column(column: str) -> Column:
    """Return the place of a key in a text column."""
    return Column(column, (column,), f"{column} = ''")


def number_column(column: str) -> Column:
    """Return the place of a key in a column of numbers."""
    return Column(column, (column,), f"{column} IS NULL")


def date_column(shown: str, form: str) -> Column:
    """Return the place of a date or time in a column of days or microseconds."""
    return Column(shown, (form,), f"{form} = {forms.EMPTY}")


@dataclass(frozen=True)
class Member:
    """A key in a document of `gateway.archive.attributes`; `document` is the SQL that has it."""

    document: str
    values: tuple[Any, ...] = ()

    def blank(self, tag: int) -> Sql:
        """Return the condition that the attribute has no value."""
        return Sql(f"json_type({self.document}, ?) IS NULL", (*self.values, path(tag)))


def path(tag: int, form: bool = False) -> str:
    """Return the JSON path of an attribute, or of the forms of its values."""
    return f'$."{"m" if form else ""}{member(tag)}"'


def or_blank(found: Sql, blank: Sql, options: Options) -> Sql:
    """Return a condition that what has no value fulfils too, if it is to match every value."""
    return joined((blank, found), "OR") if options.empty_matches else found


def is_universal(value: str, vr: str) -> bool:
    """Tell whether a value matches everything, what is empty included: only asterisks, in any group of a name."""
    return not value.strip("*=" if vr == "PN" else "*")


def wanted(asked: Asked, options: Options) -> tuple[str, ...]:
    """Return the values to be compared; none is universal matching."""
    if options.exact:
        return asked.values
    if all(is_universal(value, asked.vr) for value in asked.values):
        return ()
    if len(asked.values) > MOST_VALUES and asked.vr != "UI":
        raise KeyValueError(
            asked.tag, "has too many values", found=len(asked.values), expected=f"at most {MOST_VALUES}"
        )
    values = tuple(value for value in asked.values if value)
    if _is_multiple(asked, options):
        return tuple(value for value in values if not is_universal(value, asked.vr))
    # With one value that all match, any of the values matches all.
    return () if any(is_universal(value, asked.vr) for value in values) else values


def _is_multiple(asked: Asked, options: Options) -> bool:
    if not options.multiple or asked.vr not in MULTIPLE_VALUES or len(asked.values) < 2:
        return False
    try:
        return dictionary_VM(asked.tag) != "1"
    except KeyError:
        return False


def in_column(asked: Asked, place: Column, options: Options) -> Sql | None:
    """Return the condition of a key on columns, None if everything matches."""
    values = wanted(asked, options)
    if not values:
        return None
    if values == (NOTHING,) and options.empty and asked.vr in EMPTY_VALUES:
        return Sql(f"({place.blank})")
    if asked.vr == "UI":
        # Of entities that are named by them: an instance without one is none.
        return any_of(place.forms[0], values)
    terms = [compare(asked, value, place.forms.__getitem__, options) for value in values]
    found = joined(terms, "AND" if _is_multiple(asked, options) else "OR")
    return or_blank(found, Sql(place.blank), options)


def any_of(column: str, values: Sequence[str]) -> Sql:
    """Return the condition that a column has one of some values."""
    if len(values) == 1:
        return Sql(f"{column} = ?", (values[0],))
    return Sql(f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(list(values)),))


def in_document(asked: Asked, place: Member, options: Options, depth: int = 0) -> Sql | None:
    """Return the condition of a key on a document, None if everything matches."""
    blank = place.blank(asked.tag)
    if asked.vr == "SQ":
        condition = matching_items(
            asked, Sql(f"json_each({place.document}, ?)", (*place.values, path(asked.tag))), options, depth
        )
        if condition is None:
            return None
        return joined((blank, condition), "OR") if options.empty_matches or suits_nothing(asked, options) else condition
    values = wanted(asked, options)
    if not values:
        return None
    if values == (NOTHING,) and options.empty and asked.vr in EMPTY_VALUES:
        return blank
    each = f"e{depth}"
    source = Sql(f"json_each({place.document}, ?) {each}", (*place.values, path(asked.tag, asked.vr in FORMED)))
    form = (lambda n: f"json_extract({each}.value, '$[{n}]')") if asked.vr in FORMED else (lambda n: f"{each}.value")
    if asked.vr == "UI":
        return or_blank(exists(source, any_of(form(0), values)), blank, options)
    terms = [compare(asked, value, form, options) for value in values]
    if _is_multiple(asked, options):
        found = joined((exists(source, term) for term in terms), "AND")
    else:
        found = exists(source, joined(terms, "OR"))
    return or_blank(found, blank, options)


def suits_nothing(asked: Asked, options: Options) -> bool:
    """Tell whether an attribute without a value matches a key, a sequence without items as one empty item would."""
    if asked.vr == "SQ":
        return all(suits_nothing(key, options) for key in asked.items)
    values = wanted(asked, options)
    return not values or (values == (NOTHING,) and options.empty and asked.vr in EMPTY_VALUES)


def exists(source: Sql, condition: Sql) -> Sql:
    """Return the condition that a row of `source` fulfils another."""
    return Sql(f"EXISTS (SELECT 1 FROM {source.text} WHERE {condition.text})", (*source.values, *condition.values))


def matching_items(asked: Asked, source: Sql, options: Options, depth: int = 0) -> Sql | None:
    """Return the condition that an item of a sequence matches all keys (C.2.2.2.6), None if every one does.

    Parameters
    ----------
    asked : Asked
        The key of the sequence.
    source : Sql
        A table with an item's document in its column ``value``.
    options : Options
        How keys are matched.
    depth : int
        Of nesting: tables of different depth have different names.
    """
    condition = item_condition(asked, f"s{depth}.value", options, depth)
    return exists(Sql(f"{source.text} s{depth}", source.values), condition) if condition else None


def item_condition(asked: Asked, document: str, options: Options, depth: int = 0) -> Sql | None:
    """Return the condition on one item, None if every one matches."""
    parts = [in_document(key, Member(document), options, depth + 1) for key in asked.items]
    found = [part for part in parts if part is not None]
    return joined(found, "AND") if found else None


def compare(asked: Asked, value: str, form: Callable[[int], str], options: Options) -> Sql:
    """Return the comparison of one value with an expression for the form of an attribute's value.

    Raises
    ------
    KeyValueError
        If the value is none of the VR.
    """
    if asked.vr == "PN":
        return _name(asked, value, form, options)
    if asked.vr in RANGES:
        span = span_of(asked, value, options)
        return Sql(f"{form(0)} BETWEEN ? AND ?", tuple(span))
    if asked.vr in NUMERIC_TEXT or asked.vr in BINARY_NUMBERS:
        try:
            return Sql(f"{form(0)} = ?", (float(value),))
        except ValueError:
            raise KeyValueError(asked.tag, "is no number", found=value[:64]) from None
    if asked.vr in WILD_CARDS:
        return _text(asked, value, form(0), options)
    return Sql(f"{form(0)} = ?", (value,))


def _text(asked: Asked, value: str, expression: str, options: Options) -> Sql:
    """Compare text, with wild cards if it has any; a beginning without wild cards lets an index be used."""
    if options.exact or ("*" not in value and "?" not in value):
        return Sql(f"{expression} = ?", (value,))
    if len(value) > LONGEST_PATTERN or value.count("*") > MOST_STARS:
        raise KeyValueError(asked.tag, "is too long a pattern", expected=f"at most {MOST_STARS} asterisks")
    pattern = Sql(f"{expression} GLOB ?", (value.replace("[", "[[]"),))
    start = value[: min(value.index(card) for card in "*?" if card in value)]
    if not start:
        return pattern
    bounds = Sql(f"{expression} >= ? AND {expression} < ?", (start, start + _BEYOND))
    return Sql(f"({bounds.text} AND {pattern.text})", (*bounds.values, *pattern.values))


def _name(asked: Asked, value: str, form: Callable[[int], str], options: Options) -> Sql:
    """Compare a person name; one group is looked for in every group, several each in its own."""
    groups = [forms.fold(group) for group in value.split("=")[:3]]
    if options.fuzzy:
        found = [_sounds(asked, word, form(3)) for word in forms.words(" ".join(groups)) if word.strip("*")]
        return joined(found, "AND") if found else Sql("TRUE")
    if len(groups) == 1:
        return joined((_text(asked, groups[0], form(number), options) for number in range(3)), "OR")
    terms = [_text(asked, group, form(number), options) for number, group in enumerate(groups) if group.strip("*")]
    return joined(terms, "AND") if terms else Sql("TRUE")


def _sounds(asked: Asked, word: str, expression: str) -> Sql:
    """Compare a word of a name: as the beginning of a word, or by its sound."""
    pattern = word.replace("[", "[[]")
    if "*" in word or "?" in word:
        if word.count("*") > MOST_STARS or len(word) > LONGEST_PATTERN:
            raise KeyValueError(asked.tag, "is too long a pattern", expected=f"at most {MOST_STARS} asterisks")
        return Sql(f"{expression} GLOB ?", (f"* {pattern} *",))
    beginning = Sql(f"{expression} GLOB ?", (f"* {pattern}*",))
    code = forms.soundex(word)
    return joined((beginning, Sql(f"{expression} GLOB ?", (f"* {code} *",))), "OR") if code else beginning


_PARSERS: dict[str, Callable[[str, Options], forms.Span | None]] = {
    "DA": lambda value, options: forms.day(value),
    "TM": lambda value, options: forms.clock(value),
    "DT": lambda value, options: forms.moment(value, options.zone or 0),
}

# A date that is not known has a number below all others.
_LOWEST = {"DA": 0, "TM": 0, "DT": FIRST}


def span_of(asked: Asked, value: str, options: Options) -> forms.Span:
    """Return the first and last number that match a date, a time, or a range of them.

    A range holds all of the time that its last value names: until ``1800`` is until a minute is over. A single value is
    one moment: what it leaves out is zero.
    """
    parse = _PARSERS[asked.vr]
    single = parse(value, options)
    if single is not None:
        return forms.Span(single.first, single.first)
    for first, last in range_parts(value):
        begin, end = parse(first, options), parse(last, options)
        if (begin or not first) and (end or not last) and (begin or end):
            return forms.Span(begin.first if begin else _LOWEST[asked.vr], end.last if end else LAST)
    raise KeyValueError(asked.tag, "is no value or range of its VR", found=value[:64], expected=asked.vr)


def range_parts(value: str) -> Iterator[tuple[str, str]]:
    """Yield what may be first and last value of a range: the hyphen may also be the sign of an offset from UTC."""
    for position, letter in enumerate(value):
        if letter == "-":
            yield value[:position].strip(), value[position + 1 :].strip()
