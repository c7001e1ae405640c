"""A query to one statement: what matches, and what is returned of it (PS3.4 C.4.1.3, C.2.2).

The text of the statement follows from which keys are asked and how they match; every value is a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydicom.datadict import tag_for_keyword

from gateway.archive import gathered
from gateway.archive.attributes import NO_VALUES, keyword_of, vr_of
from gateway.archive.keys import filled
from gateway.archive.matching import (
    Asked,
    Member,
    Options,
    Sql,
    in_column,
    in_document,
    item_condition,
    joined,
    path,
)
from gateway.archive.moments import Moment, in_moment
from gateway.archive.places import (
    COLUMNS,
    COMPUTED_KEYS,
    DOCUMENTS,
    HOME,
    IDS,
    OF_ENTITY,
    PARENTS,
    STUDY_MOMENT,
    TABLES,
    Version,
    current,
    is_pending,
    source,
    version,
    visible,
)
from gateway.archive.views import View
from gateway.standard.query_keys import ADDITIONAL, IMAGE, LEVELS, PATIENT

# Groups of bulk data and of what no data set of an Identifier may have.
_NO_GROUPS = frozenset((0x0002, 0x0004, 0x5400, 0x7FE0, 0xFFFA, 0xFFFC, 0xFFFE))


@dataclass(frozen=True)
class Query:
    """What is asked.

    Attributes
    ----------
    level : str
        PATIENT, STUDY, SERIES or IMAGE.
    view : View
        One view.
    keys : tuple of Asked
        The keys.
    options : Options
        How they match.
    relational : bool
        Whether keys of lower levels choose as well.
    of_patient : bool
        Whether the patient is a level of the model: a study under several is told of the one that was asked for.
    after : int, optional
        Only entities with a greater id, in the order of their ids.
    ordered : bool
        In the order of their ids.
    """

    level: str
    view: View
    keys: tuple[Asked, ...]
    options: Options = field(default_factory=Options)
    relational: bool = False
    of_patient: bool = False
    after: int | None = None
    ordered: bool = False


class Output(NamedTuple):
    """A key that is returned: its expressions in the statement, and how its value is made of what they yield.

    Attributes
    ----------
    asked : Asked
        The key.
    column : int
        Of the row.
    kind : str
        ``column``, ``document``, ``items`` or ``computed``.
    settled : bool
        Whether it is only known when nothing is still to come.
    """

    asked: Asked
    column: int
    kind: str
    settled: bool = False


@dataclass(frozen=True)
class Statement:
    """A query as SQL.

    Attributes
    ----------
    sql : str
        The text.
    parameters : tuple
        Its values.
    outputs : tuple of Output
        What is returned, by column; columns 0 and 1 are the entity's id and whether something is still to come.
    headers : tuple of Asked
        Keys to be looked up in the headers of what the statement finds; its last two columns say where these are.
    unsupported : tuple of int
        Tags of the keys that are not in the index, or not matched.
    """

    sql: str
    parameters: tuple[Any, ...]
    outputs: tuple[Output, ...]
    headers: tuple[Asked, ...]
    unsupported: tuple[int, ...]


class _Translation:
    """A statement in the making."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.depth = LEVELS.index(query.level)
        self.selected: list[Sql] = []
        self.conditions: list[Sql] = []
        self.versions: dict[Version, list[Sql]] = {}
        self.patients: list[Sql] = []
        self.lower: dict[str, list[Sql]] = {}
        self.outputs: list[Output] = []
        self.headers: list[Asked] = []
        self.unsupported: list[int] = []
        self.documents: dict[str, int] = {}

    def select(self, sql: Sql) -> int:
        """Return the number of the column that has an expression."""
        self.selected.append(sql)
        return len(self.selected) - 1

    def key(self, asked: Asked) -> None:
        """Take a key."""
        keyword = keyword_of(asked.tag)
        home = HOME.get(keyword)
        if home is None:
            self._header(asked, keyword)
        elif LEVELS.index(home) > self.depth:
            self._lower(asked, keyword, home)
        else:
            self._condition(self._place(keyword, home), asked, keyword, home)
            self._output(asked, keyword, home)

    def _place(self, keyword: str, home: str) -> list[Sql]:
        """Return the conditions that one of a key of this or a higher level belongs to."""
        where = None if keyword in COMPUTED_KEYS or keyword in OF_ENTITY else version(self.query.level, home)
        return self.conditions if where is None else self.versions.setdefault(where, [])

    def _header(self, asked: Asked, keyword: str) -> None:
        """Take a key that the index does not have."""
        readable = keyword and asked.vr not in NO_VALUES and asked.tag >> 16 not in _NO_GROUPS
        if keyword in ADDITIONAL:  # of no object
            readable = False
        if self.query.level == IMAGE and readable:
            self.headers.append(asked)
        else:
            self.unsupported.append(asked.tag)

    def _lower(self, asked: Asked, keyword: str, home: str) -> None:
        """Take a key of a lower level: it chooses if that was negotiated, and is not returned."""
        self.unsupported.append(asked.tag)
        if self.query.relational:
            self._condition(self.lower.setdefault(home, []), asked, keyword, home)

    def _condition(self, to: list[Sql], asked: Asked, keyword: str, home: str) -> None:
        query = self.query
        if _is_paired(keyword) and (query.options.combined or query.options.zone is not None):
            return  # dates and times together, at the end
        if keyword in COMPUTED_KEYS:
            condition, matched = gathered.condition(asked, keyword, query.view, query.options)
            if not matched:
                self.unsupported.append(asked.tag)
        elif keyword in COLUMNS:
            condition = in_column(asked, COLUMNS[keyword], query.options)
        else:
            condition = in_document(asked, Member(DOCUMENTS[home]), query.options)
        if condition is not None:
            to.append(condition)
            if self.query.of_patient and keyword in ("PatientID", "IssuerOfPatientID"):
                self.patients.append(condition)

    def moments(self) -> None:
        """Take the dates and times of the request, each with its partner."""
        options = self.query.options
        if not options.combined and options.zone is None:
            return
        asked = {keyword_of(key.tag): key for key in self.query.keys}
        for keyword in sorted({_stem(keyword) for keyword in asked if _is_paired(keyword)}):
            date, time = asked.get(f"{keyword}Date"), asked.get(f"{keyword}Time")
            home = HOME.get(f"{keyword}Date")
            if home is None or (LEVELS.index(home) > self.depth and not self.query.relational):
                continue
            condition = in_moment(date, time, _moment(keyword, home), options)
            if condition is not None:
                lower = LEVELS.index(home) > self.depth
                (self.lower.setdefault(home, []) if lower else self._place(f"{keyword}Date", home)).append(condition)

    def _output(self, asked: Asked, keyword: str, home: str) -> None:
        if keyword in COMPUTED_KEYS:
            computed = COMPUTED_KEYS[keyword]
            sql = gathered.value(asked, keyword, self.query.view, self.query.options)
            self.outputs.append(Output(asked, self.select(sql), "computed", computed.settled))
        elif keyword in COLUMNS:
            shown = COLUMNS[keyword].shown
            sql = filled(shown, self.query.view) if shown.startswith(("k.", "g.")) else Sql(shown)
            self.outputs.append(Output(asked, self.select(sql), "column"))
        elif condition := item_condition(asked, "o.value", self.query.options):
            found = f"json_each({DOCUMENTS[home]}, ?) o WHERE {condition.text}"
            text = f"(SELECT json_group_array(json(o.value)) FROM {found})"
            column = self.select(Sql(text, (path(asked.tag), *condition.values)))
            self.outputs.append(Output(asked, column, "items"))
        else:
            if home not in self.documents:
                self.documents[home] = self.select(Sql(DOCUMENTS[home]))
            self.outputs.append(Output(asked, self.documents[home], "document"))

    def chosen(self) -> None:
        """Add the conditions that what some instance says matches all keys of study and patient, and of the series."""
        for where, conditions in self.versions.items():
            if conditions:
                found = joined((*conditions, where.current(self.query.view)), "AND")
                text = f"{where.entity} IN (SELECT {where.id} FROM {where.tables} WHERE {found.text})"
                self.conditions.append(Sql(text, found.values))

    def narrowed(self) -> None:
        """Add the condition that something below matches the keys of lower levels."""
        self.lower = {home: conditions for home, conditions in self.lower.items() if conditions}
        if not self.lower:
            return
        level = self.query.level
        deepest = max(LEVELS.index(home) for home in self.lower)
        below = LEVELS[self.depth + 1 : deepest + 1]
        tables = ", ".join(TABLES[one] for one in below)
        inner = [Sql(f"{PARENTS[one]} = {IDS[LEVELS[LEVELS.index(one) - 1]]}") for one in below[1:]]
        inner += [visible(LEVELS[deepest], self.query.view)]
        inner += [found for one in below if (found := current(one, self.query.view)) is not None]
        inner += [condition for one in below for condition in self.lower.get(one, ())]
        condition = joined(inner, "AND")
        text = f"{IDS[level]} IN (SELECT {PARENTS[below[0]]} FROM {tables} WHERE {condition.text})"
        self.conditions.append(Sql(text, condition.values))


def translate(query: Query) -> Statement:
    """Return the statement of a query.

    Raises
    ------
    KeyValueError
        If a value is none of its VR.
    """
    made = _Translation(query)
    made.select(Sql(IDS[query.level]))
    made.select(is_pending(query.level, query.view))
    for asked in query.keys:
        made.key(asked)
    made.moments()
    made.chosen()
    made.narrowed()
    made.conditions.append(visible(query.level, query.view))
    if query.after is not None:
        made.conditions.append(Sql(f"{IDS[query.level]} > ?", (query.after,)))
    if made.headers:
        for column in ("i.name", "i.kind"):
            made.select(Sql(column))
    tables = source(query.level, query.view, tuple(made.patients))
    where = joined(made.conditions, "AND")
    order = f" ORDER BY {IDS[query.level]}" if query.ordered or query.after is not None else ""
    return Statement(
        f"SELECT {', '.join(sql.text for sql in made.selected)} FROM {tables.text} WHERE {where.text}{order}",
        (*(value for sql in made.selected for value in sql.values), *tables.values, *where.values),
        tuple(made.outputs),
        tuple(made.headers),
        tuple(made.unsupported),
    )


def header_tags(keys: Iterable[Asked]) -> list[int]:
    """Return what has to be read of a header: the keys, and the other half of each date and time."""
    tags = {key.tag for key in keys}
    for keyword in [keyword_of(tag) for tag in tags]:
        if _is_paired(keyword):
            tags |= {_tag(f"{_stem(keyword)}Date"), _tag(f"{_stem(keyword)}Time")}
    return sorted(tags)


def header_condition(keys: Iterable[Asked], options: Options) -> Sql | None:
    """Return a statement that finds a row if a document matches; None if every one does.

    Its first parameters are the document and the offset from UTC of its dates and times, in minutes.
    """
    keys = tuple(keys)
    document = Member("h.document")
    named = {keyword_of(key.tag): key for key in keys}
    paired = options.combined or options.zone is not None
    parts = []
    for keyword, key in named.items():
        if not (paired and _is_paired(keyword)):
            parts.append(in_document(key, document, options))
    for stem in sorted({_stem(keyword) for keyword in named if paired and _is_paired(keyword)}):
        place = _document_moment(stem, "h.document", "h.zone")
        parts.append(in_moment(named.get(f"{stem}Date"), named.get(f"{stem}Time"), place, options))
    found = [part for part in parts if part is not None]
    if not found:
        return None
    condition = joined(found, "AND")
    return Sql(f"SELECT 1 FROM (SELECT ? AS document, ? AS zone) h WHERE {condition.text}", condition.values)


def _is_paired(keyword: str) -> bool:
    """Tell whether an attribute is a date or time of a pair; a birth happened in whatever zone it was."""
    if not keyword.endswith(("Date", "Time")) or keyword.endswith("DateTime") or keyword.startswith("PatientBirth"):
        return False
    return bool(_tag(f"{_stem(keyword)}Date") and _tag(f"{_stem(keyword)}Time"))


def _stem(keyword: str) -> str:
    return keyword[:-4]


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    return tag if tag is not None and vr_of(tag) in ("DA", "TM") else 0


def _moment(stem: str, home: str) -> Moment:
    return (
        STUDY_MOMENT
        if stem == "Study"
        else _document_moment(stem, DOCUMENTS[home], "k.zone" if home != PATIENT else "NULL")
    )


def _document_moment(stem: str, document: str, zone: str) -> Moment:
    return Moment(_first_form(f"{stem}Date", document), _first_form(f"{stem}Time", document), zone)


def _first_form(keyword: str, document: str) -> Sql:
    """Return the form of the first value of an attribute in a document, as columns have it."""
    tag = _tag(keyword)
    text = f"coalesce(json_extract({document}, ?), CASE WHEN json_type({document}, ?) IS NULL THEN -1 END)"
    return Sql(text, (f"{path(tag, form=True)}[0][0]", path(tag)))
