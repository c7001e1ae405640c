"""What an index older than some of its tables lacks: names and dates at once, the rest from headers little by little.

Opening an archive fills what follows from other columns; that takes a moment. An older index knew of a series, its
study and its patient what one object said of them; so what each object says is read from its header again, series by
series with every checkpoint, while the box serves. Until then the older answer stands.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.archive.entities import date_columns, describe, name_columns
from gateway.archive.keys import replace
from gateway.archive.matches import header_of
from gateway.errors import ArchiveError, ObjectError
from gateway.objects.elements import DataSet

if TYPE_CHECKING:
    import sqlite3

    from gateway.archive.database import Database
    from gateway.archive.index import Archive

# Seconds that one step may take: other work of the process waits.
LONGEST = 0.5

# Instances of a transaction: others wait for its end.
TOGETHER = 50

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
    """Read the headers of some series that came before there were tables for them; return how many series."""
    deadline = time.monotonic() + LONGEST
    done = 0
    for keys, series, uid, study in archive.database.rows(
        "SELECT g.id, g.series, s.uid, t.uid FROM series_keys g JOIN series s ON s.id = g.series"
        " JOIN study t ON t.id = s.study WHERE g.indexed = 0 LIMIT 100"
    ):
        if not _series(archive, keys, (series, study, uid), deadline):
            break
        done += 1
    return done


def _series(archive: Archive, keys: int, series: tuple[int, str, str], deadline: float) -> bool:
    """Read again what the instances of a series say that have the keys of an older index; tell whether that is done."""
    sql = "SELECT id, name, kind FROM instance WHERE series = ? AND series_keys = ? ORDER BY id"
    rows = archive.database.rows(sql, (series[0], keys))
    for start in range(0, len(rows), TOGETHER):
        if time.monotonic() >= deadline:
            return False
        read = [
            (row[0], ds) for row in rows[start : start + TOGETHER] if (ds := _header(archive, *row[1:])) is not None
        ]
        with archive.database.transaction() as connection:
            for instance, ds in read:
                replace(connection, instance, series[1:], describe(ds))
    with archive.database.transaction() as connection:
        _conclude(connection, keys, series[0])
    return True


def _conclude(connection: sqlite3.Connection, keys: int, series: int) -> None:
    """Remove what nothing says any more; what is left is of files that cannot be read, and stays as it is."""
    sql = "SELECT 1 FROM instance WHERE series = ? AND series_keys = ? LIMIT 1"
    if connection.execute(sql, (series, keys)).fetchone():
        connection.execute("UPDATE series_keys SET indexed = 1 WHERE id = ?", (keys,))
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
    except (ArchiveError, ObjectError, OSError):
        return None  # the file is gone; nothing more will ever be known of it
