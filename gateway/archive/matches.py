"""The answer to a query, one match after the other: nothing is built before it is asked for (PS3.4 C.4.1.3.1)."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.archive import forms, intact
from gateway.archive.attributes import Document, as_json, document, keyword_of, member, tag_named, zone_of
from gateway.archive.database import Interrupted
from gateway.archive.matching import Asked, Sql
from gateway.archive.query import Output, Query, Statement, header_condition, header_tags, translate
from gateway.archive.rows import DERIVED
from gateway.errors import ArchiveError, ObjectError
from gateway.objects.elements import DataSet
from gateway.objects.recipe import top_level
from gateway.standard.query_keys import ALTERNATE_SOP_CLASS

if TYPE_CHECKING:
    from gateway.archive.index import Archive

# Values of attributes by tag: text, numbers, or items that are such values again.
Values = Mapping[int, Sequence[Any]]

Syntaxes = Callable[[str, str], Sequence[str]]

# Instances that are taken from the index at a time when their headers have to be read: that takes long, and as long as
# one statement lasts, files in the intake folder are not moved on.
PAGE = 256


class Match(NamedTuple):
    """One entity that matches.

    Attributes
    ----------
    id : int
        Of its row; matches of an ordered query come in this order.
    pending : bool
        Whether a conversion that concerns it has not ended.
    values : Values
        Of the keys asked, without those that are not supported.
    complete : bool
        Whether every key was supported for it.
    """

    id: int
    pending: bool
    values: Values
    complete: bool


def matches(
    archive: Archive,
    query: Query,
    *,
    syntaxes: Syntaxes = lambda stored, sop_class: (stored,),
    interrupted: Callable[[], bool] = lambda: False,
) -> Generator[Match, None, None]:
    """Yield what matches a query.

    Parameters
    ----------
    archive : Archive
        Where.
    query : Query
        What.
    syntaxes : callable
        Returns the transfer syntaxes in which an instance can be retrieved: of the one it is stored in and its class.
    interrupted : callable
        Whether nobody waits for the answer any more; then it just ends.

    Raises
    ------
    KeyValueError
        If a key has a value that is none of its VR.
    ResourceError, ArchiveError
        If the index cannot be read.
    """
    statement = translate(query)
    try:
        if statement.headers:
            yield from _looked_up(archive, query, statement, syntaxes, interrupted)
            return
        with (
            archive.database.reading(interrupted) as connection,
            contextlib.closing(connection.execute(statement.sql, statement.parameters)) as rows,
        ):
            for row in rows:
                yield Match(row[0], bool(row[1]), _values(statement, row, syntaxes), not statement.unsupported)
                if interrupted():
                    return
    except Interrupted:
        return


def _looked_up(
    archive: Archive, query: Query, statement: Statement, syntaxes: Syntaxes, interrupted: Callable[[], bool]
) -> Iterator[Match]:
    """Yield what matches of all that the index finds, with the keys that only headers have."""
    with contextlib.closing(_Headers(archive, statement, query)) as headers:
        for row in _paged(archive, query, interrupted):
            found = headers.look(row)
            if found is not None:
                complete = not statement.unsupported and len(found) == len(statement.headers)
                yield Match(row[0], bool(row[1]), _values(statement, row, syntaxes) | found, complete)
            if interrupted():
                return


def _paged(archive: Archive, query: Query, interrupted: Callable[[], bool]) -> Iterator[tuple]:
    """Yield what the index finds, in the order of its ids; the index is read for a page at a time."""
    after = query.after
    while True:
        statement = translate(replace(query, after=after, ordered=True))
        with archive.database.reading(interrupted) as connection:
            rows = connection.execute(f"{statement.sql} LIMIT {PAGE}", statement.parameters).fetchall()
        yield from rows
        if len(rows) < PAGE:
            return
        after = rows[-1][0]


def index_identity(archive: Archive) -> bytes:
    """Return what tells this index from one that is rebuilt, in which entities have other ids."""
    row = archive.database.row("SELECT min(applied_at) FROM _sqlite_migrations")
    return zlib.crc32(str(row[0] if row else "").encode()).to_bytes(4, "big")


def _values(statement: Statement, row: tuple, syntaxes: Syntaxes) -> dict[int, Sequence[Any]]:
    documents: dict[int, Document] = {}
    values: dict[int, Sequence[Any]] = {}
    for output in statement.outputs:
        held = row[output.column]
        if output.kind == "document":
            if output.column not in documents:
                documents[output.column] = json.loads(held) if held else {}
            values[output.asked.tag] = _member(output.asked, documents[output.column])
        elif output.kind == "computed":
            values[output.asked.tag] = () if output.settled and row[1] else _computed(output, held, syntaxes)
        elif output.kind == "items":
            values[output.asked.tag] = _items(output.asked, json.loads(held))
        else:
            values[output.asked.tag] = () if held in (None, "") else (held,)
    return values


def _member(asked: Asked, held: Document) -> Sequence[Any]:
    found = held.get(member(asked.tag), ())
    return _items(asked, found) if asked.vr == "SQ" else found


def _items(asked: Asked, held: Sequence[Document]) -> list[Values]:
    """Return items with the attributes asked for, all of them if none is named (C.2.2.2.6)."""
    if asked.items:
        return [{key.tag: _member(key, item) for key in asked.items} for item in held]
    return [_whole(item) for item in held]


def _whole(item: Document) -> Values:
    return {
        int(name, 16): [_whole(one) if isinstance(one, dict) else one for one in values]
        for name, values in item.items()
        if not name.startswith("m")
    }


def _computed(output: Output, held: Any, syntaxes: Syntaxes) -> Sequence[Any]:
    keyword = keyword_of(output.asked.tag)
    if keyword in ("ModalitiesInStudy", "SOPClassesInStudy"):
        return sorted(json.loads(held))
    if keyword == "AnatomicRegionsInStudyCodeSequence":
        return _items(output.asked, sorted(json.loads(held), key=json.dumps))
    if keyword == "StudyUpdateDateTime":
        return (update_text(held),)
    if keyword == "TimezoneOffsetFromUTC":
        return () if held is None else (forms.zone_text(held),)
    if keyword == "AvailableTransferSyntaxUID":
        return syntaxes(*json.loads(held))
    if keyword == "AlternateRepresentationSequence":
        return [_alternate(*one) for one in json.loads(held)]
    return (held,)


def update_text(seconds: float) -> str:
    """Return a time in seconds since 1970 as DT in UTC."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=round(seconds * 1e6))
    return moment.strftime("%Y%m%d%H%M%S.%f+0000")


def _alternate(sop_class: str, sop_instance: str, series: str) -> Values:
    """Return an item of the Alternate Representation Sequence; a twin is always in another series."""
    code, scheme, meaning = ALTERNATE_SOP_CLASS
    purpose = {"CodeValue": code, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}
    return {
        tag_named("ReferencedSOPClassUID"): (sop_class,),
        tag_named("ReferencedSOPInstanceUID"): (sop_instance,),
        tag_named("SeriesInstanceUID"): (series,),
        tag_named("PurposeOfReferenceCodeSequence"): [{tag_named(key): (one,) for key, one in purpose.items()}],
    }


class _Headers:
    """Looks up what only the headers of instances say."""

    def __init__(self, archive: Archive, statement: Statement, query: Query) -> None:
        self._archive = archive
        self._keys = statement.headers
        self._condition: Sql | None = header_condition(self._keys, query.options)
        self._tags = header_tags(self._keys)
        # It compares values with keys and reads no table: the index is not kept busy with it.
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)

    def close(self) -> None:
        """End the comparisons."""
        self._connection.close()

    def look(self, row: tuple) -> dict[int, Sequence[Any]] | None:
        """Return the values of the keys for an instance, none if its file is gone; None if it does not match."""
        name, kind = row[-2:]
        try:
            ds = header_of(self._archive, name, kind)
            held = document(ds, self._tags)
        except (ArchiveError, ObjectError, OSError):
            # What the index knows is still true; what is asked of the file is not known to match.
            return {} if self._condition is None else None
        if self._condition is not None and not self._matches(ds, held):
            return None
        return {key.tag: _member(key, held) for key in self._keys}

    def _matches(self, ds: DataSet, held: Document) -> bool:
        assert self._condition is not None
        parameters = (as_json(held), zone_of(ds), *self._condition.values)
        return self._connection.execute(self._condition.text, parameters).fetchone() is not None


def header_of(archive: Archive, name: str, kind: str) -> DataSet:
    """Return the attributes of an instance outside of its pixels and frames, as they were stored.

    Raises
    ------
    ArchiveError, ObjectError
        If they cannot be read; `DamagedError` if they are not what was stored.
    """
    row = archive.named(name)
    if row is None:
        raise ArchiveError(name, "the index does not know it any more")
    return top_level(archive.recipe_of(row)) if kind == DERIVED else intact.header_of(archive, row).dataset
