"""What the index holds of an object, and writing instances into it; always inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gateway.archive import forms
from gateway.archive.attributes import as_json, document, items_of, member, tag_named, zone_of
from gateway.archive.rows import (
    INSTANCE_COLUMNS,
    PATIENT_COLUMNS,
    SERIES_COLUMNS,
    STUDY_COLUMNS,
    columns_of,
    instance_columns,
)
from gateway.conversion.references import referenced
from gateway.objects.elements import DataSet
from gateway.objects.remembered import remembered
from gateway.objects.uids import valid_uid
from gateway.observe import warning
from gateway.standard.anatomy import BODY_PARTS
from gateway.standard.query_keys import COMPUTED, FURTHER_KEYS, IMAGE, KEYS, PATIENT, SERIES, STUDY

if TYPE_CHECKING:
    from gateway.archive.keys import Place

Description = dict[str, dict[str, Any]]

# Version of what the index takes from an object. To be raised whenever that learns something or is corrected: rows made
# by an older one are read again from their files, in the background (`gateway.archive.backfill`).
# 1: columns of queries. 2: by the dictionary whatever the VR, Number of Frames where there is one, character sets.
EXTRACTION = 2


# Keys of each level that have no column of their own.
_HELD = frozenset(
    (*PATIENT_COLUMNS.values(), *STUDY_COLUMNS.values(), *SERIES_COLUMNS.values(), *INSTANCE_COLUMNS.values())
) - {"PatientBirthDate", "ReferringPhysicianName", "SeriesDate", "SeriesTime"}
_DOCUMENTS: dict[str, tuple[str, ...]] = {
    level: tuple(
        keyword
        for keyword in (*(key.keyword for key in KEYS[level] if key.type == "O"), *FURTHER_KEYS[level])
        if keyword not in COMPUTED[level] and keyword not in _HELD
    )
    for level in KEYS
}


def describe(ds: DataSet) -> Description:
    """Return what the index holds of an object, entity by entity."""
    return describe_entities(ds) | describe_instance(ds)


@remembered
def describe_entities(ds: DataSet) -> Description:
    """Return what the index holds of an object's patient, study and series, and the anatomic regions that it shows.

    The images of a series agree in it; nobody may change what this returns.
    """
    patient, study = columns_of(ds, PATIENT_COLUMNS), columns_of(ds, STUDY_COLUMNS)
    return {
        "patient": patient | name_columns(patient["name"]) | _document(ds, PATIENT),
        "study": study | date_columns(study["date"], study["time"]) | {"zone": zone_of(ds)} | _document(ds, STUDY),
        "series": columns_of(ds, SERIES_COLUMNS) | _document(ds, SERIES),
        "regions": dict.fromkeys(_regions(ds)),
    }


def describe_instance(ds: DataSet) -> Description:
    """Return what the index holds of an instance alone."""
    return {"instance": instance_columns(ds) | _document(ds, IMAGE) | {"extraction": EXTRACTION}}


def name_columns(name: str) -> dict[str, Any]:
    """Return the columns that a patient's name is matched by."""
    found = forms.name(name)
    return dict(zip(("name_a", "name_i", "name_p", "sound"), found, strict=True))


def date_columns(date: str, time: str) -> dict[str, Any]:
    """Return the columns that a study's date and time are matched by."""
    day, clock = forms.day(date), forms.clock(time)
    return {
        "day": day.first if day else None if date else forms.EMPTY,
        "clock": clock.first if clock else None if time else forms.EMPTY,
    }


def _document(ds: DataSet, level: str) -> dict[str, Any]:
    return {"more": as_json(document(ds, _DOCUMENTS[level]))}


def _regions(ds: DataSet) -> list[str]:
    """Return the anatomic regions of an instance as documents of one code each (PS3.4 C.3.4, PS3.16 annex L)."""
    places = [ds, *items_of(ds, "SharedFunctionalGroupsSequence")]
    places += [item for place in places[1:] for item in items_of(place, "FrameAnatomySequence")]
    around = {tag: ds[tag] for tag in (_CHARACTER_SET,) if tag in ds}
    found = [document(around | code, _CODE) for place in places for code in items_of(place, "AnatomicRegionSequence")]
    if not found and (part := BODY_PARTS.get(columns_of(ds, {"part": "BodyPartExamined"})["part"])):
        values = (part[0], "SCT", part[1])
        found = [{member(tag_named(keyword)): [value] for keyword, value in zip(_CODE, values, strict=True)}]
    return sorted({code for one in found if (code := as_json(one))})


_CHARACTER_SET = tag_named("SpecificCharacterSet")
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")


def insert(connection: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> int:
    """Insert a row and return its id."""
    sql = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"
    return connection.execute(sql, tuple(values.values())).lastrowid or 0


def insert_instance(connection: sqlite3.Connection, place: Place, row: dict[str, Any], description: Description) -> int:
    """Insert an instance where `find_place` has found its place, as `describe` has described it, and return its id."""
    where = {"series": place.series, "series_keys": place.keys}
    made = insert(connection, "instance", where | row | description["instance"])
    if description["instance"].get("extraction", 0) < EXTRACTION:  # the record of a conversion of long ago
        connection.execute("UPDATE extraction SET until = ?", (made,))
    return made


def referred(ds: DataSet) -> set[str]:
    """Return the UIDs that an object refers to, at any depth: of instances, and of series as a whole."""
    try:
        # What is no UID names nothing that could be here.
        return {uid for uid, _ in referenced(ds) if valid_uid(uid)}
    except Exception as error:  # a fault of ours, see `gateway.archive.attributes`
        warning("index.unreadable", attribute="references", reason=f"{type(error).__name__}: {error}")
        return set()


def insert_references(connection: sqlite3.Connection, instance: int, uids: Iterable[str]) -> None:
    """Note which objects an instance refers to."""
    sql = "INSERT OR IGNORE INTO reference (sop_instance, from_instance) VALUES (?, ?)"
    connection.executemany(sql, ((uid, instance) for uid in sorted(uids)))


def supersede(connection: sqlite3.Connection, instance: int, reason: str) -> None:
    """Take an instance out of every view; its file is kept."""
    sql = "UPDATE instance SET superseded = id, views = 0, settled = 1, reason = ? WHERE id = ?"
    connection.execute(sql, (reason, instance))


def retire(connection: sqlite3.Connection, instance: int, reason: str) -> None:
    """Supersede what a sender has made the current version once: it ranks above all that were it before."""
    supersede(connection, instance, reason)
    sql = """UPDATE instance SET retired = 1 + (SELECT max(o.retired) FROM instance o
        WHERE o.sop_instance = instance.sop_instance) WHERE id = ?"""
    connection.execute(sql, (instance,))
