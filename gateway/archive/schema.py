"""The tables of the index, as migrations in the order they were added.

A migration that has been released is never changed; the next one follows it. Each is committed together with its
record in the table that sqlite-utils keeps for the purpose.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Any

from gateway.archive.key_tables import BITS as _BITS
from gateway.archive.key_tables import KEY_TABLES
from gateway.errors import ArchiveError

_SET = "index"

# superseded: 0 for the current version of a SOP Instance UID, else the row's own id, so that the pair is unique.
# views: bits of `gateway.archive.views`; 0 for every superseded row, so that tallies need look at nothing else.
_TABLES = (
    """CREATE TABLE patient (
        id INTEGER PRIMARY KEY, scope TEXT NOT NULL UNIQUE, patient_id TEXT NOT NULL, issuer TEXT NOT NULL,
        name TEXT NOT NULL, birth_date TEXT NOT NULL, sex TEXT NOT NULL)""",
    "CREATE INDEX patient_by_id ON patient(patient_id)",
    """CREATE TABLE study (
        id INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE, patient INTEGER NOT NULL REFERENCES patient(id),
        date TEXT NOT NULL, time TEXT NOT NULL, study_id TEXT NOT NULL, accession TEXT NOT NULL,
        description TEXT NOT NULL, referring TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL)""",
    "CREATE INDEX study_by_patient ON study(patient)",
    "CREATE INDEX study_by_accession ON study(accession)",
    "CREATE INDEX study_by_update ON study(updated_at)",
    """CREATE TABLE series (
        id INTEGER PRIMARY KEY, study INTEGER NOT NULL REFERENCES study(id), uid TEXT NOT NULL, number INTEGER,
        modality TEXT NOT NULL, description TEXT NOT NULL, body_part TEXT NOT NULL, protocol TEXT NOT NULL,
        date TEXT NOT NULL, time TEXT NOT NULL, UNIQUE (study, uid))""",
    "CREATE INDEX series_by_uid ON series(uid)",
    """CREATE TABLE instance (
        id INTEGER PRIMARY KEY, series INTEGER NOT NULL REFERENCES series(id), sop_instance TEXT NOT NULL,
        sop_class TEXT NOT NULL, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, transfer_syntax TEXT NOT NULL,
        length INTEGER NOT NULL, dataset_offset INTEGER NOT NULL, digest BLOB NOT NULL, views INTEGER NOT NULL,
        settled INTEGER NOT NULL, superseded INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL, peer TEXT NOT NULL,
        called TEXT NOT NULL, convert INTEGER NOT NULL, prior INTEGER NOT NULL, received_at REAL NOT NULL,
        number INTEGER, rows INTEGER, columns INTEGER, frames INTEGER NOT NULL,
        UNIQUE (sop_instance, superseded))""",
    "CREATE INDEX instance_by_series ON instance(series)",
    "CREATE INDEX instance_unsettled ON instance(series) WHERE settled = 0",
    """CREATE TABLE reference (
        sop_instance TEXT NOT NULL, from_instance INTEGER NOT NULL REFERENCES instance(id) ON DELETE CASCADE,
        PRIMARY KEY (sop_instance, from_instance)) WITHOUT ROWID""",
    "CREATE INDEX reference_from ON reference(from_instance)",
)

# What was made of what, kept for ever (REQUIREMENTS G22); `partition` says which durable records the tables contain.
_DERIVED = (
    """CREATE TABLE derived (
        id INTEGER PRIMARY KEY, sop_instance TEXT NOT NULL UNIQUE, sop_class TEXT NOT NULL, series TEXT NOT NULL,
        study TEXT NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL)""",
    """CREATE TABLE uid_map (
        source TEXT NOT NULL, digest BLOB NOT NULL, derived INTEGER NOT NULL REFERENCES derived(id),
        frame INTEGER NOT NULL, PRIMARY KEY (source, digest, derived, frame)) WITHOUT ROWID""",
    "CREATE INDEX uid_map_by_derived ON uid_map(derived, frame)",
    "CREATE TABLE partition (name TEXT PRIMARY KEY, study TEXT NOT NULL, applied_at REAL NOT NULL) WITHOUT ROWID",
)

_WORK = (
    """CREATE TABLE job (
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, study TEXT NOT NULL, destination TEXT NOT NULL,
        state TEXT NOT NULL, not_before REAL NOT NULL, again REAL, attempts INTEGER NOT NULL, reason TEXT NOT NULL,
        created_at REAL NOT NULL, UNIQUE (kind, study, destination))""",
    "CREATE INDEX job_due ON job(kind, destination, state, not_before)",
    "CREATE INDEX job_by_study ON job(study)",
    """CREATE TABLE decision (
        study TEXT NOT NULL, destination TEXT NOT NULL, view INTEGER NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (study, destination)) WITHOUT ROWID""",
    """CREATE TABLE delivery (
        study TEXT NOT NULL, destination TEXT NOT NULL, sop_instance TEXT NOT NULL, digest BLOB NOT NULL,
        state TEXT NOT NULL, status INTEGER, reason TEXT NOT NULL, attempts INTEGER NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (study, destination, sop_instance)) WITHOUT ROWID""",
)


def _tally(event: str, when: str, row: str, change: str) -> str:
    """Return the trigger that adds `change` to the tally of each view of an instance's series."""
    return f"""CREATE TRIGGER instance_{event.split()[0].lower()} AFTER {event} ON instance WHEN {when} BEGIN
        INSERT INTO series_tally (series, view, instances)
            SELECT {row}.series, bit, {change} FROM {_BITS} WHERE {change} <> 0
            ON CONFLICT (series, view) DO UPDATE SET instances = instances + excluded.instances;
        END"""


def _study_tally(event: str, series: str, instances: str) -> str:
    """Return the trigger that carries a change of a series' tally on to its study's."""
    return f"""CREATE TRIGGER series_tally_{event.split()[0].lower()} AFTER {event} ON series_tally BEGIN
        INSERT INTO study_tally (study, view, series, instances)
            SELECT study, new.view, {series}, {instances} FROM series WHERE id = new.series
            ON CONFLICT (study, view) DO UPDATE
            SET series = series + excluded.series, instances = instances + excluded.instances;
        END"""


_TALLIES = (
    """CREATE TABLE series_tally (
        series INTEGER NOT NULL, view INTEGER NOT NULL, instances INTEGER NOT NULL,
        PRIMARY KEY (series, view)) WITHOUT ROWID""",
    """CREATE TABLE study_tally (
        study INTEGER NOT NULL, view INTEGER NOT NULL, series INTEGER NOT NULL, instances INTEGER NOT NULL,
        PRIMARY KEY (study, view)) WITHOUT ROWID""",
    _tally("INSERT", "new.views <> 0", "new", "((new.views & bit) <> 0)"),
    _tally("DELETE", "old.views <> 0", "old", "(0 - ((old.views & bit) <> 0))"),
    _tally("UPDATE OF views", "new.views <> old.views", "new", "(((new.views & bit) <> 0) - ((old.views & bit) <> 0))"),
    _study_tally("INSERT", "new.instances > 0", "new.instances"),
    _study_tally("UPDATE OF instances", "(new.instances > 0) - (old.instances > 0)", "new.instances - old.instances"),
)

# What a derived object is to its sources (`gateway.archive.rows.DerivedRow`), and which received enhanced object stands
# for which classic images, frame by frame (REQUIREMENTS G23).
_GUISES = (
    "ALTER TABLE derived ADD COLUMN kind TEXT NOT NULL DEFAULT 'image'",
    """CREATE TABLE twin (
        sop_instance TEXT NOT NULL, frame INTEGER NOT NULL, source TEXT NOT NULL,
        PRIMARY KEY (sop_instance, frame)) WITHOUT ROWID""",
    "CREATE INDEX twin_by_source ON twin(source)",
)

# What a query matches (PS3.4 C.2.2.2), in the forms of `gateway.archive.forms`: days and microseconds as numbers, -1
# when there is no value, NULL when it is none; names folded by component group. more: a document of
# `gateway.archive.attributes`, NULL when nothing is in it. indexed: 0 for rows older than these columns.
_QUERY_COLUMNS = (
    *(f"ALTER TABLE patient ADD COLUMN {name} TEXT" for name in ("name_a", "name_i", "name_p", "sound", "more")),
    "ALTER TABLE patient ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX patient_by_name ON patient(name_a)",
    "CREATE INDEX patient_by_ideographic_name ON patient(name_i) WHERE name_i IS NOT NULL",
    "CREATE INDEX patient_by_phonetic_name ON patient(name_p) WHERE name_p IS NOT NULL",
    "CREATE INDEX patient_unindexed ON patient(indexed) WHERE indexed = 0",
    *(f"ALTER TABLE study ADD COLUMN {name} INTEGER" for name in ("day", "clock", "zone")),
    "ALTER TABLE study ADD COLUMN more TEXT",
    "ALTER TABLE study ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX study_by_day ON study(day, clock)",
    "CREATE INDEX study_by_study_id ON study(study_id)",
    "CREATE INDEX study_unindexed ON study(indexed) WHERE indexed = 0",
    "ALTER TABLE series ADD COLUMN more TEXT",
    "ALTER TABLE series ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX series_unindexed ON series(indexed) WHERE indexed = 0",
    "ALTER TABLE instance ADD COLUMN more TEXT",
    """CREATE TABLE series_region (
        series INTEGER NOT NULL REFERENCES series(id), region TEXT NOT NULL, PRIMARY KEY (series, region))
        WITHOUT ROWID""",
)


def _study_classes(event: str, when: str, row: str, change: str) -> str:
    """Return the trigger that adds `change` to the tally of an instance's class in its study, for each view."""
    return f"""CREATE TRIGGER instance_class_{event.split()[0].lower()} AFTER {event} ON instance WHEN {when} BEGIN
        INSERT INTO study_class (study, view, sop_class, instances)
            SELECT s.study, bit, {row}.sop_class, {change} FROM {_BITS} JOIN series s ON s.id = {row}.series
            WHERE {change} <> 0
            ON CONFLICT (study, view, sop_class) DO UPDATE SET instances = instances + excluded.instances;
        END"""


def _study_modalities(event: str, when: str, change: str) -> str:
    """Return the trigger that carries a change of a series' tally on to the modalities of its study."""
    return f"""CREATE TRIGGER series_modality_{event.split()[0].lower()} AFTER {event} ON series_tally WHEN {when} BEGIN
        INSERT INTO study_modality (study, view, modality, series)
            SELECT study, new.view, modality, {change} FROM series WHERE id = new.series
            ON CONFLICT (study, view, modality) DO UPDATE SET series = series + excluded.series;
        END"""


# SOP Classes and Modalities in Study of each view (C.3.4): gathered from a million instances they would take seconds.
_STUDY_TALLIES = (
    """CREATE TABLE study_class (
        study INTEGER NOT NULL, view INTEGER NOT NULL, sop_class TEXT NOT NULL, instances INTEGER NOT NULL,
        PRIMARY KEY (study, view, sop_class)) WITHOUT ROWID""",
    "CREATE INDEX study_class_by_class ON study_class(sop_class, view, study, instances)",
    """CREATE TABLE study_modality (
        study INTEGER NOT NULL, view INTEGER NOT NULL, modality TEXT NOT NULL, series INTEGER NOT NULL,
        PRIMARY KEY (study, view, modality)) WITHOUT ROWID""",
    "CREATE INDEX study_modality_by_modality ON study_modality(modality, view, study, series)",
    f"""INSERT INTO study_class SELECT s.study, bit, i.sop_class, count(*)
        FROM instance i JOIN series s ON s.id = i.series JOIN {_BITS} ON i.views & bit GROUP BY 1, 2, 3""",
    """INSERT INTO study_modality SELECT s.study, y.view, s.modality, count(*)
        FROM series_tally y JOIN series s ON s.id = y.series WHERE y.instances > 0 GROUP BY 1, 2, 3""",
    _study_classes("INSERT", "new.views <> 0", "new", "((new.views & bit) <> 0)"),
    _study_classes("DELETE", "old.views <> 0", "old", "(0 - ((old.views & bit) <> 0))"),
    _study_classes(
        "UPDATE OF views", "new.views <> old.views", "new", "(((new.views & bit) <> 0) - ((old.views & bit) <> 0))"
    ),
    _study_modalities("INSERT", "new.instances > 0", "1"),
    _study_modalities(
        "UPDATE OF instances",
        "(new.instances > 0) <> (old.instances > 0)",
        "(new.instances > 0) - (old.instances > 0)",
    ),
)

# Storage commitment by the destinations (PS3.4 annex J). commitment: '' not asked, 'asked', 'committed', 'refused', or
# 'excluded' from it (J.1.1); failure: Failure Reason of the destination; lost: how often it did not have what it had
# taken. asked: our transactions; instances: a document of `gateway.archive.commitments`.
_COMMITMENT = (
    "ALTER TABLE delivery ADD COLUMN commitment TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE delivery ADD COLUMN commitment_reason TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE delivery ADD COLUMN failure INTEGER",
    "ALTER TABLE delivery ADD COLUMN commitment_at REAL",
    "ALTER TABLE delivery ADD COLUMN lost INTEGER NOT NULL DEFAULT 0",
    """CREATE TABLE asked (
        uid TEXT PRIMARY KEY, study TEXT NOT NULL, destination TEXT NOT NULL, state TEXT NOT NULL,
        asked_at REAL NOT NULL, answered_at REAL, instances TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX asked_by_study ON asked(study, destination)",
)

# What others want the box to commit to (`gateway.archive.promises`). found: NULL until something was found.
_PROMISES = (
    """CREATE TABLE promise (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, requester TEXT NOT NULL, called TEXT NOT NULL,
        transaction_uid TEXT NOT NULL, state TEXT NOT NULL, asked_at REAL NOT NULL, due REAL NOT NULL,
        kept_until REAL NOT NULL, attempts INTEGER NOT NULL, reason TEXT NOT NULL, total INTEGER NOT NULL,
        committed INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, concluded_at REAL)""",
    "CREATE INDEX promise_due ON promise(state, due)",
    """CREATE TABLE promise_reference (
        promise INTEGER NOT NULL REFERENCES promise(id) ON DELETE CASCADE, position INTEGER NOT NULL,
        sop_class TEXT NOT NULL, sop_instance TEXT NOT NULL, found INTEGER, reason TEXT NOT NULL DEFAULT '',
        retrieve_ae TEXT NOT NULL DEFAULT '', PRIMARY KEY (promise, position)) WITHOUT ROWID""",
)

# number_of_frames: as the instance says it, NULL if it does not (frames is 1 then). extraction: with which version of
# `gateway.archive.entities` a row was made. extraction (table): how far the rows of older ones have been read again, by
# id of the instance, for the version that the last start had.
_EXTRACTION = (
    "ALTER TABLE instance ADD COLUMN number_of_frames INTEGER",
    "ALTER TABLE instance ADD COLUMN extraction INTEGER NOT NULL DEFAULT 0",
    """CREATE TABLE extraction (
        version INTEGER NOT NULL, position INTEGER NOT NULL, until INTEGER NOT NULL)""",
    "INSERT INTO extraction VALUES (0, 0, 0)",
)

# Different images that came under one SOP Instance UID (`gateway.archive.collisions`). image: which of them a row is a
# version of, 0 for the first that came. retired: rank among the versions of the UID that were the current one once, the
# latest has the highest; 0 for the current one, and for what has never been it.
_COLLISIONS = (
    "ALTER TABLE instance ADD COLUMN image INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE instance ADD COLUMN retired INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX instance_other_image ON instance(sop_instance) WHERE image > 0",
)

# Digests of the value of Pixel Data and of the rest of a received data set, NULL where nobody has read them yet; and
# what has been found to be not what was stored (`gateway.archive.damage`).
_DAMAGE = (
    "ALTER TABLE instance ADD COLUMN pixel_digest BLOB",
    "ALTER TABLE instance ADD COLUMN head_digest BLOB",
    """CREATE TABLE damage (
        name TEXT PRIMARY KEY, kind TEXT NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL,
        sop_instance TEXT NOT NULL, digest TEXT NOT NULL, peer TEXT NOT NULL, reason TEXT NOT NULL,
        found_at REAL NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX damage_by_series ON damage(series)",
)

# tries: how often in a row an instance met the same fate at a destination. What was refused before this was known is
# tried once more; from now on it is not tried for ever. series: what was decided about single series.
_DELIVERIES = (
    "ALTER TABLE delivery ADD COLUMN tries INTEGER NOT NULL DEFAULT 0",
    "UPDATE delivery SET state = 'failed' WHERE state = 'refused'",
    "ALTER TABLE decision ADD COLUMN series TEXT NOT NULL DEFAULT '{}'",
    "CREATE INDEX delivery_refused ON delivery(destination, sop_instance) WHERE state = 'refused'",
)

# Which transfer syntaxes destinations take, as associations have shown.
_TAKEN = (
    """CREATE TABLE taken (
        destination TEXT NOT NULL, transfer_syntax TEXT NOT NULL, yes INTEGER NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (destination, transfer_syntax)
    ) WITHOUT ROWID""",
)

# Who had sent the file itself, where its version has come again from another peer: its file meta information names him.
_WRITER = ("ALTER TABLE instance ADD COLUMN writer TEXT",)

MIGRATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("0001_entities", _TABLES),
    ("0002_derived", _DERIVED),
    ("0003_work", _WORK),
    ("0004_tallies", _TALLIES),
    ("0005_guises", _GUISES),
    ("0006_query_columns", _QUERY_COLUMNS),
    ("0007_study_tallies", _STUDY_TALLIES),
    ("0008_commitment", _COMMITMENT),
    ("0009_promises", _PROMISES),
    ("0010_extraction", _EXTRACTION),
    ("0011_keys", KEY_TABLES),
    ("0012_collisions", _COLLISIONS),
    ("0014_damage", _DAMAGE),
    ("0015_taken", _TAKEN),
    ("0016_deliveries", _DELIVERIES),
    ("0017_writer", _WRITER),
)


def applied(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the migrations that a database has had, in order."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone():
        return []
    sql = "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY id"
    return [name for (name,) in connection.execute(sql, (_SET,))]


def migrate(path: Path, migrations: tuple[tuple[str, tuple[str, ...]], ...] = MIGRATIONS) -> list[str]:
    """Bring a database up to date and return the names of the migrations that ran.

    Processes that start together take turns. sqlite-utils is only imported when there is something to do: it costs more
    memory than the rest of the archive.

    Raises
    ------
    ArchiveError
        If the database was made by a later version of the gateway.
    """
    with _turn(path), contextlib.closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        done = applied(connection)
        unknown = sorted(set(done) - {name for name, _ in migrations})
        if unknown:
            raise ArchiveError(
                path.name, "was made by a later version", found=unknown[-1], remedy="install that version"
            )
        pending = [name for name, _ in migrations if name not in done]
        if pending:
            _apply(connection, migrations)
        return pending


@contextlib.contextmanager
def _turn(path: Path) -> Any:
    descriptor = os.open(path.parent / ".migrate.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _apply(connection: sqlite3.Connection, migrations: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    wanted = Migrations(_SET)
    for name, statements in migrations:

        def run(db: Any, statements: tuple[str, ...] = statements) -> None:
            for statement in statements:
                db.execute(statement)

        wanted(name=name)(run)
    wanted.apply(Database(connection))
