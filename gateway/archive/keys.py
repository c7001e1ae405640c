"""What instances say of their patient, study and series: found again or noted, and which of it a view answers with.

Tables of `gateway.archive.key_tables`, in a statement: study_keys k, series_keys g, beside patient p, study t, series s
and instance i.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from gateway.archive import conflicts, entities
from gateway.archive.entities import Description, describe_entities, insert
from gateway.archive.matching import Sql, joined
from gateway.archive.rows import patient_scope
from gateway.archive.views import View
from gateway.objects.elements import DataSet
from gateway.objects.remembered import remembered


class Said(NamedTuple):
    """What an object says of its patient, study and series.

    Attributes
    ----------
    description : Description
        What `describe_entities` returns, or more.
    study, series : bytes
        Digests: of what is said of patient and study, and of the series.
    """

    description: Description
    study: bytes
    series: bytes


class Place(NamedTuple):
    """Where an instance belongs: ids of its series and of what it says of it."""

    series: int
    keys: int


@remembered
def said_by(ds: DataSet) -> Said:
    """Return what an object says of its patient, study and series."""
    return said(describe_entities(ds))


def said(description: Description) -> Said:
    """Return a description with its digests."""
    study = [_of_patient(description), _without(description["study"])]
    series = [_without(description["series"]), sorted(description.get("regions", ()))]
    return Said(description, _digest(study), _digest(series))


def _digest(content: Any) -> bytes:
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    return blake2b(text.encode(), digest_size=16).digest()


def _without(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {column: value for column, value in columns.items() if column != "indexed"}


def _of_patient(description: Description) -> dict[str, Any]:
    return _without(description["patient"])


_PLACE = """SELECT s.id, g.id, t.id FROM study t JOIN series s ON s.study = t.id AND s.uid = ?
    JOIN study_keys k ON k.study = t.id AND k.digest = ?
    JOIN series_keys g ON g.series = s.id AND g.study_keys = k.id AND g.digest = ? WHERE t.uid = ?"""


def find_place(connection: sqlite3.Connection, study: str, series: str, now: float, what: Said) -> Place:
    """Return where an instance of a series belongs that says `what`; what is new on the way is inserted."""
    found = connection.execute(_PLACE, (series, what.study, what.series, study)).fetchone()
    if found:
        connection.execute("UPDATE study SET updated_at = ? WHERE id = ?", (now, found[2]))
        return Place(*found[:2])
    study_id = _find(connection, "study", {"uid": study}, {"created_at": now, "updated_at": now})
    connection.execute("UPDATE study SET updated_at = ? WHERE id = ?", (now, study_id))
    return _new_place(connection, study_id, study, series, what)


def replace(connection: sqlite3.Connection, instance: int, where: tuple[str, str], description: Description) -> None:
    """Note anew what an instance says; `where` are the UIDs of its study and series, which stay as they are."""
    study, series = where
    what = said(description)
    found = connection.execute(_PLACE, (series, what.study, what.series, study)).fetchone()
    if found is None:
        study_id = _find(connection, "study", {"uid": study})
        found = _new_place(connection, study_id, study, series, what)
    _confirm(connection, found[1])
    columns = {"series_keys": found[1]} | description["instance"]
    assignments = ", ".join(f"{column} = ?" for column in columns)
    connection.execute(f"UPDATE instance SET {assignments} WHERE id = ?", (*columns.values(), instance))


def _confirm(connection: sqlite3.Connection, keys: int) -> None:
    """Note that the extraction of now finds in an object what an older one has found."""
    for table, which in (("series_keys", "?"), ("study_keys", "(SELECT study_keys FROM series_keys WHERE id = ?)")):
        sql = f"UPDATE {table} SET indexed = ? WHERE id = {which} AND indexed < ?"
        connection.execute(sql, (entities.EXTRACTION, keys, entities.EXTRACTION))


def _new_place(connection: sqlite3.Connection, study_id: int, uid: str, series: str, what: Said) -> Place:
    series_id = _find(connection, "series", {"study": study_id, "uid": series})
    study_keys = _study_keys(connection, study_id, uid, what)
    key = {"series": series_id, "study_keys": study_keys, "digest": what.series}
    columns = _without(what.description["series"]) | {"indexed": entities.EXTRACTION}
    keys = _find(connection, "series_keys", key, columns)
    sql = "INSERT OR IGNORE INTO keys_region (keys, region) VALUES (?, ?)"
    connection.executemany(sql, ((keys, region) for region in what.description.get("regions", ())))
    return Place(series_id, keys)


def _study_keys(connection: sqlite3.Connection, study: int, uid: str, what: Said) -> int:
    sql = "SELECT id FROM study_keys WHERE study = ? AND digest = ?"
    if found := connection.execute(sql, (study, what.study)).fetchone():
        return found[0]
    columns = _of_patient(what.description)
    entity = {"scope": patient_scope(columns, uid)}
    patient = _find(connection, "patient", entity, {key: columns.pop(key) for key in ("patient_id", "issuer")})
    columns["patient_more"] = columns.pop("more")
    identity = conflicts.identity(patient, columns)
    key = {"study": study, "patient": patient, "digest": what.study, "identity": identity}
    columns |= _without(what.description["study"]) | {"indexed": entities.EXTRACTION}
    keys = insert(connection, "study_keys", key | columns)
    conflicts.report(connection, keys)
    return keys


def _find(
    connection: sqlite3.Connection, table: str, key: Mapping[str, Any], columns: Mapping[str, Any] | None = None
) -> int:
    """Return the id of the row with a key, made when it is new."""
    sql = f"SELECT id FROM {table} WHERE {' AND '.join(f'{column} = ?' for column in key)}"
    found = connection.execute(sql, tuple(key.values())).fetchone()
    return found[0] if found else insert(connection, table, {**key, **(columns or {})})


# Which of it a view has. An instance that is still to come into a view says what the view will have.

_UNSETTLED = "instance pi JOIN series_keys pg ON pg.id = pi.series_keys WHERE pi.settled = 0 AND pi.views & ? = 0"

# The condition that something in any view says what a row of study_keys k has.
ANYWHERE = (
    "EXISTS (SELECT 1 FROM series_keys cg JOIN keys_tally cw ON cw.keys = cg.id AND cw.instances > 0"
    " WHERE cg.study_keys = k.id)"
)


def current_study(view: View, keys: str = "k") -> Sql:
    """Return the condition that an instance of a view, or one that is to come into it, says this of its study."""
    text = (
        "EXISTS (SELECT 1 FROM series_keys cg JOIN keys_tally cw ON cw.keys = cg.id AND cw.view = ?"
        f" AND cw.instances > 0 WHERE cg.study_keys = {keys}.id)"
    )
    if view == View.RECEIVED:
        return Sql(text, (int(view),))
    return Sql(f"({text} OR {keys}.id IN (SELECT pg.study_keys FROM {_UNSETTLED}))", (int(view), int(view)))


def current_series(view: View, keys: str = "g") -> Sql:
    """Return the condition that an instance of a view says this of its series."""
    text = f"EXISTS (SELECT 1 FROM keys_tally cw WHERE cw.keys = {keys}.id AND cw.view = ? AND cw.instances > 0)"
    return Sql(text, (int(view),))


def latest_series(view: View, series: str = "s.id") -> Sql:
    """Return the id of what the latest instance of a series in a view says of it."""
    text = (
        "(SELECT lg.id FROM series_keys lg JOIN keys_tally lw ON lw.keys = lg.id AND lw.view = ? AND lw.instances > 0"
        f" WHERE lg.series = {series} ORDER BY lw.latest DESC, lw.last DESC LIMIT 1)"
    )
    return Sql(text, (int(view),))


def latest_study(view: View, owner: str, conditions: tuple[Sql, ...] = ()) -> Sql:
    """Return the id of what the latest instance in a view says of a study.

    Parameters
    ----------
    view : View
        One view.
    owner : str
        SQL of whose it is: a condition on study_keys ``lk``.
    conditions : tuple of Sql
        Further ones, on patient ``p``.
    """
    where = joined((Sql(owner), *conditions), "AND")
    source = f"study_keys lk{' JOIN patient p ON p.id = lk.patient' if conditions else ''}"
    text = (
        f"SELECT lk.id, lw.latest AS latest, lw.last AS last FROM {source} JOIN series_keys lg ON lg.study_keys = lk.id"
        f" JOIN keys_tally lw ON lw.keys = lg.id AND lw.view = ? AND lw.instances > 0 WHERE {where.text}"
    )
    values: tuple[Any, ...] = (int(view), *where.values)
    if view != View.RECEIVED:
        text += (
            f" UNION ALL SELECT lk.id, pi.received_at, pi.id FROM {source} JOIN series_keys pg ON pg.study_keys = lk.id"
            f" JOIN instance pi ON pi.series = pg.series AND pi.settled = 0 AND pi.series_keys = pg.id"
            f" AND pi.views & ? = 0 WHERE {where.text}"
        )
        values += (int(view), *where.values)
    return Sql(f"(SELECT id FROM ({text}) ORDER BY latest DESC, last DESC LIMIT 1)", values)


# Other versions of what is said of the same study and patient, and of the same series; what a time belongs to.
_OTHERS = {
    "k": (
        "study_keys f JOIN series_keys fg ON fg.study_keys = f.id JOIN keys_tally fw ON fw.keys = fg.id",
        "f.study = k.study AND f.patient = k.patient",
    ),
    "g": ("series_keys f JOIN keys_tally fw ON fw.keys = f.id", "f.series = g.series"),
}
_ITS_DATE = {"k.time": " AND (k.date = '' OR f.date = k.date)"}


def filled(column: str, view: View) -> Sql:
    """Return a column of study_keys k or series_keys g, from the latest instance that says something in it.

    A report without Study Description does not take it from the study; what an object does not say is no other value.
    """
    table, name = column.split(".")
    source, same = _OTHERS[table]
    where = f"{same}{_ITS_DATE.get(column, '')} AND coalesce(f.{name}, '') <> ''"
    said = (
        f"SELECT f.{name} AS value, fw.latest AS latest, fw.last AS last FROM {source}"
        f" WHERE {where} AND fw.view = ? AND fw.instances > 0"
    )
    values: tuple[Any, ...] = (int(view),)
    if table == "k" and view != View.RECEIVED:  # what is to come into the view says something of the study already
        said += (
            " UNION ALL SELECT f." + name + ", pi.received_at, pi.id FROM study_keys f"
            " JOIN series_keys fg ON fg.study_keys = f.id JOIN instance pi ON pi.series = fg.series"
            f" AND pi.settled = 0 AND pi.series_keys = fg.id AND pi.views & ? = 0 WHERE {where}"
        )
        values += (int(view),)
    latest = f"(SELECT value FROM ({said}) ORDER BY latest DESC, last DESC LIMIT 1)"
    return Sql(f"CASE WHEN coalesce({column}, '') <> '' THEN {column} ELSE coalesce({latest}, {column}) END", values)


def of_patient(view: View, patient: str | None, issuer: str | None) -> Sql:
    """Return the query for the studies of which something in a view, or part of several, is a patient's."""
    given = (("p.patient_id", patient), ("p.issuer", issuer))
    asked = [Sql(f"{column} = ?", (one,)) for column, one in given if one is not None]
    views = [one for one in View if one & view]
    where = joined((*asked, joined((current_study(one) for one in views), "OR")), "AND")
    return Sql(f"SELECT k.study FROM study_keys k JOIN patient p ON p.id = k.patient WHERE {where.text}", where.values)
