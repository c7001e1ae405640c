"""Columns for queries in an index older than them: names and dates at once, the rest from headers little by little.

Opening an archive fills what follows from other columns; that takes a moment. What has to be read from files is filled
series by series with every checkpoint, while the box serves; until then such keys count as empty, which matches
everything (PS3.4 C.2.2.1.2).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.archive.entities import date_columns, describe, name_columns
from gateway.archive.matches import header_of
from gateway.errors import ArchiveError, ObjectError
from gateway.objects.elements import DataSet
from gateway.standard.sop_classes import CLASSIC_MODALITIES, ENHANCED_CLASSES

if TYPE_CHECKING:
    import sqlite3

    from gateway.archive.database import Database
    from gateway.archive.index import Archive

# Seconds that one step may take: other work of the process waits.
LONGEST = 0.5

# What these classes say is in their series; others may have keys of their own (documents, specimens).
_IMAGES = frozenset((*CLASSIC_MODALITIES, *ENHANCED_CLASSES))


def columns(database: Database) -> int:
    """Fill what follows from other columns and return how many patients and studies that were."""
    wanted = "SELECT id, name FROM patient WHERE indexed = 0", "SELECT id, date, time FROM study WHERE indexed = 0"
    if not any(database.row(f"{sql} LIMIT 1") for sql in wanted):
        return 0
    with database.transaction() as connection:
        patients, studies = (connection.execute(sql).fetchall() for sql in wanted)
        for number, name in patients:
            _update(connection, "patient", number, name_columns(name) | {"indexed": 1})
        for number, date, clock in studies:
            _update(connection, "study", number, date_columns(date, clock) | {"indexed": 1})
    return len(patients) + len(studies)


def step(archive: Archive) -> int:
    """Read the headers of some series that came before there were columns for them; return how many."""
    deadline = time.monotonic() + LONGEST
    done = 0
    for number, study, patient in archive.database.rows(
        "SELECT s.id, s.study, t.patient FROM series s JOIN study t ON t.id = s.study WHERE s.indexed = 0 LIMIT 100"
    ):
        _series(archive, number, study, patient)
        done += 1
        if time.monotonic() >= deadline:
            break
    return done


def _series(archive: Archive, number: int, study: int, patient: int) -> None:
    rows = archive.database.rows(
        "SELECT id, name, kind, sop_class FROM instance WHERE series = ? ORDER BY superseded > 0, id", (number,)
    )
    read = [
        (row[0], ds)
        for position, row in enumerate(rows)
        if (position == 0 or row[3] not in _IMAGES) and (ds := _header(archive, row[1], row[2])) is not None
    ]
    with archive.database.transaction() as connection:
        _update(connection, "series", number, {"indexed": 1})
        for position, (instance, ds) in enumerate(read):
            known = describe(ds)
            _update(connection, "instance", instance, {"more": known["instance"]["more"]})
            sql = "INSERT OR IGNORE INTO series_region (series, region) VALUES (?, ?)"
            connection.executemany(sql, ((number, region) for region in known["regions"]))
            if position == 0:
                _update(connection, "series", number, {"more": known["series"]["more"]})
                for table, entity in (("study", study), ("patient", patient)):
                    sql = f"UPDATE {table} SET more = coalesce(more, ?) WHERE id = ?"
                    connection.execute(sql, (known[table]["more"], entity))
                connection.execute(
                    "UPDATE study SET zone = coalesce(zone, ?) WHERE id = ?", (known["study"]["zone"], study)
                )


def _header(archive: Archive, name: str, kind: str) -> DataSet | None:
    try:
        return header_of(archive, name, kind)
    except (ArchiveError, ObjectError, OSError):
        return None  # the file is gone; nothing more will ever be known of it


def _update(connection: sqlite3.Connection, table: str, number: int, values: dict[str, object]) -> None:
    assignments = ", ".join(f"{column} = ?" for column in values)
    connection.execute(f"UPDATE {table} SET {assignments} WHERE id = ?", (*values.values(), number))
