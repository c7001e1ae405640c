"""What an index of an older version lacks: names and dates at once, the rest from headers little by little.

Opening an archive fills what follows from other columns; that takes a moment. Each row says which version of the
extraction made it (`gateway.archive.entities.EXTRACTION`). What later ones know, or know better, is read again from the
files, received and derived, some of them with every checkpoint, while the box serves. Until then the older answer
stands.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from gateway.archive import entities
from gateway.archive.entities import date_columns, describe, name_columns
from gateway.archive.keys import replace
from gateway.archive.matches import header_of
from gateway.objects.elements import DataSet
from gateway.observe import event, warning

if TYPE_CHECKING:
    from gateway.archive.database import Database
    from gateway.archive.index import Archive

# Seconds that one step may take: other work of the process waits.
LONGEST = 0.5

# Instances of a transaction: others wait for its end. And the span of ids that is looked through for so many.
TOGETHER = 50
WINDOW = 2000

_OLDER = """SELECT i.id, i.name, i.kind, t.uid, s.uid, s.id, i.series_keys
    FROM instance i JOIN series s ON s.id = i.series JOIN study t ON t.id = s.study
    WHERE i.id > ? AND i.id <= ? AND i.extraction < ? ORDER BY i.id LIMIT ?"""

# All that was written by an index of one row a study, where it is not filled yet.
_OLD = "SELECT id, name, date, time FROM study_keys WHERE indexed = 0 AND sound IS NULL"


def columns(database: Database) -> int:
    """Fill what follows from other columns and return how many rows that were."""
    if not database.row(f"{_OLD} LIMIT 1"):
        return 0
    with database.transaction() as connection:
        rows = connection.execute(_OLD).fetchall()
        for number, name, date, clock in rows:
            values = name_columns(name) | date_columns(date, clock)
            assignments = ", ".join(f"{column} = ?" for column in values)
            connection.execute(f"UPDATE study_keys SET {assignments} WHERE id = ?", (*values.values(), number))
    return len(rows)


def step(archive: Archive) -> int:
    """Read again some of what an older extraction has made rows of; return how many instances it looked at.

    Rows are taken in the order of their ids, from where the step before has stopped to the last one that was there when
    this version began: what came later is of this version.
    """
    version, position, until = archive.database.row("SELECT version, position, until FROM extraction") or (0, 0, 0)
    if version != entities.EXTRACTION:
        position, until = _begin(archive)
    if position >= until:
        return 0
    deadline = time.monotonic() + LONGEST
    done = 0
    while position < until and time.monotonic() < deadline:
        position, looked = _some(archive, position, until)
        done += looked
    if position >= until:
        event("index.read_again", version=entities.EXTRACTION)
    return done


def _begin(archive: Archive) -> tuple[int, int]:
    """Note that all that is there now is to be looked at: the extraction has another version than at the last start."""
    with archive.database.transaction() as connection:
        (until,) = connection.execute("SELECT ifnull(max(id), 0) FROM instance").fetchone()
        sql = "UPDATE extraction SET version = ?, position = 0, until = ?"
        connection.execute(sql, (entities.EXTRACTION, until))
    return 0, until


def _some(archive: Archive, position: int, until: int) -> tuple[int, int]:
    """Read the next instances again; return the id of the last one looked at, and how many that were."""
    rows = archive.database.rows(_OLDER, (position, min(until, position + WINDOW), entities.EXTRACTION, TOGETHER))
    read = [(row, ds) for row in rows if (ds := _header(archive, *row[1:3])) is not None]
    position = rows[-1][0] if len(rows) == TOGETHER else min(until, position + WINDOW)
    with archive.database.transaction() as connection:
        for (instance, _, _, study, series, *_), ds in read:
            try:
                replace(connection, instance, (study, series), describe(ds))
            except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError) as error:
                warning("index.not_read_again", instance=instance, reason=error)  # the older answer stands
        for keys, number in sorted({(row[6], row[5]) for row in rows}):
            _conclude(connection, keys, number)
        connection.execute("UPDATE extraction SET position = ?", (position,))
    return position, len(rows)


def _conclude(connection: sqlite3.Connection, keys: int, series: int) -> None:
    """Remove what nothing says any more; what is left is of others, or of files that cannot be read."""
    sql = "SELECT 1 FROM instance WHERE series = ? AND series_keys = ? LIMIT 1"
    if connection.execute(sql, (series, keys)).fetchone():
        return
    (study,) = connection.execute("SELECT study_keys FROM series_keys WHERE id = ?", (keys,)).fetchone()
    connection.execute("DELETE FROM keys_region WHERE keys = ?", (keys,))
    connection.execute("DELETE FROM keys_tally WHERE keys = ?", (keys,))
    connection.execute("DELETE FROM series_keys WHERE id = ?", (keys,))
    if not connection.execute("SELECT 1 FROM series_keys WHERE study_keys = ? LIMIT 1", (study,)).fetchone():
        connection.execute("DELETE FROM study_keys WHERE id = ?", (study,))


def _header(archive: Archive, name: str, kind: str) -> DataSet | None:
    try:
        return header_of(archive, name, kind)
    except Exception as error:  # whatever is the matter with one file, the others are read
        event("index.not_read_again", file=name, reason=error)
        return None
