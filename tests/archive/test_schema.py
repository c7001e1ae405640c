"""Migrations: each once, in order, as a whole or not at all."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.archive.schema import MIGRATIONS, applied, migrate
from gateway.errors import ArchiveError

NAMES = [name for name, _ in MIGRATIONS]


def test_a_new_database_gets_every_migration_and_an_up_to_date_one_none(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    assert migrate(path) == NAMES
    assert migrate(path) == []
    with sqlite3.connect(path) as connection:
        assert applied(connection) == NAMES
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_older_database_keeps_its_data_and_gets_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    migrate(path, MIGRATIONS[:1])
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO patient VALUES (7, 's', 'P1', '', 'Doe', '', '')")
    connection.close()
    assert migrate(path) == NAMES[1:]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT id, patient_id FROM patient").fetchall() == [(7, "P1")]
    connection.close()


def test_a_migration_that_fails_leaves_neither_a_change_nor_a_record(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    broken = (*MIGRATIONS, ("9999_broken", ("CREATE TABLE half (id)", "CREATE TABLE nonsense nonsense")))
    with pytest.raises(sqlite3.OperationalError):
        migrate(path, broken)
    with sqlite3.connect(path) as connection:
        assert applied(connection) == NAMES
        assert connection.execute("SELECT * FROM sqlite_master WHERE name = 'half'").fetchall() == []
    connection.close()
    assert migrate(path) == []


def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    migrate(path, (*MIGRATIONS, ("9999_later", ("CREATE TABLE later (id)",))))
    with pytest.raises(ArchiveError, match=r"later version.*9999_later"):
        migrate(path)


def test_migrations_run_in_the_order_of_their_names() -> None:
    assert sorted(set(NAMES)) == NAMES
