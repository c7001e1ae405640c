"""Writing patients, studies, series and instances into the index; always inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.archive.rows import (
    PATIENT_COLUMNS,
    SERIES_COLUMNS,
    STUDY_COLUMNS,
    columns_of,
    instance_columns,
    patient_scope,
)
from gateway.conversion.references import referenced
from gateway.objects.elements import DataSet

Description = Mapping[str, dict[str, Any]]


def describe(ds: DataSet) -> Description:
    """Return what the index holds of an object, entity by entity."""
    return {
        "patient": columns_of(ds, PATIENT_COLUMNS),
        "study": columns_of(ds, STUDY_COLUMNS),
        "series": columns_of(ds, SERIES_COLUMNS),
        "instance": instance_columns(ds),
    }


def insert(connection: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> int:
    """Insert a row and return its id."""
    sql = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})"
    return connection.execute(sql, tuple(values.values())).lastrowid or 0


def find_series(
    connection: sqlite3.Connection, study: str, series: str, now: float, description: Callable[[], Description]
) -> int:
    """Return the id of a series, made together with its study and patient when they are new.

    What is known of an entity comes from the first instance that names it.
    """
    sql = "SELECT s.id, t.id FROM study t LEFT JOIN series s ON s.study = t.id AND s.uid = ? WHERE t.uid = ?"
    series_id, study_id = connection.execute(sql, (series, study)).fetchone() or (None, None)
    if study_id is not None:
        connection.execute("UPDATE study SET updated_at = ? WHERE id = ?", (now, study_id))
    if series_id is not None:
        return series_id
    known = description()
    if study_id is None:
        patient_id = _find_patient(connection, patient_scope(known["patient"], study), known["patient"])
        made = {"uid": study, "patient": patient_id, "created_at": now, "updated_at": now}
        study_id = insert(connection, "study", made | known["study"])
    return insert(connection, "series", {"study": study_id, "uid": series} | known["series"])


def _find_patient(connection: sqlite3.Connection, scope: str, columns: dict[str, Any]) -> int:
    found = connection.execute("SELECT id FROM patient WHERE scope = ?", (scope,)).fetchone()
    return found[0] if found else insert(connection, "patient", {"scope": scope} | columns)


def referred(ds: DataSet) -> set[str]:
    """Return the UIDs that an object refers to, at any depth: of instances, and of series as a whole."""
    return {uid for uid, _ in referenced(ds)}


def insert_references(connection: sqlite3.Connection, instance: int, uids: Iterable[str]) -> None:
    """Note which objects an instance refers to."""
    sql = "INSERT OR IGNORE INTO reference (sop_instance, from_instance) VALUES (?, ?)"
    connection.executemany(sql, ((uid, instance) for uid in sorted(uids)))


def supersede(connection: sqlite3.Connection, instance: int, reason: str) -> None:
    """Take an instance out of every view; its file is kept."""
    sql = "UPDATE instance SET superseded = id, views = 0, settled = 1, reason = ? WHERE id = ?"
    connection.execute(sql, (reason, instance))
