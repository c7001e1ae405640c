"""From release to release: a copy of the index is migrated, and an older copy put back loses nothing."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from archive_tools import counted, ct, debris, derive, python, store, tallies

from gateway.archive import schema
from gateway.archive.index import Archive
from gateway.archive.rows import Settlement
from gateway.archive.succession import INDEX, NEXT, RESTORED, prepare
from gateway.archive.views import View
from gateway.errors import ArchiveError


def older(path: Path) -> None:
    """Make an index as an earlier release left it."""
    schema.migrate(path, schema.MIGRATIONS[:3])
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO patient VALUES (7, 's', 'P1', '', 'Doe', '', '')")
    connection.close()


def migrations(path: Path) -> list[str]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        return schema.applied(connection)


def test_the_copy_is_migrated_and_the_index_stays_as_it_was(tmp_path: Path) -> None:
    older(tmp_path / INDEX)
    before = (tmp_path / INDEX).read_bytes()
    assert prepare(tmp_path) == tmp_path / NEXT
    assert list(tmp_path.glob("*-wal")) == []
    assert (tmp_path / INDEX).read_bytes() == before
    assert migrations(tmp_path / NEXT) == [name for name, _ in schema.MIGRATIONS]
    with sqlite3.connect(tmp_path / NEXT) as connection:
        assert connection.execute("SELECT patient_id FROM patient").fetchall() == [("P1",)]
    connection.close()


def test_what_only_the_log_has_is_in_the_copy(tmp_path: Path) -> None:
    # A process that was killed leaves the log behind.
    code = """
import os, sys
from pathlib import Path
from archive_tools import ct, store
from gateway.archive.index import Archive
store(Archive(Path(sys.argv[1])), ct())
os._exit(0)
"""
    assert python(code, tmp_path).wait(60) == 0
    assert (tmp_path / f"{INDEX}-wal").stat().st_size
    prepare(tmp_path)
    os.replace(tmp_path / NEXT, tmp_path / INDEX)
    archive = Archive(tmp_path)
    assert archive.instance("1.2.3.4.1") is not None
    archive.close()


def test_a_migration_that_fails_leaves_no_copy_and_the_index_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older(tmp_path / INDEX)
    before = (tmp_path / INDEX).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(schema.migrate, "__defaults__", ((("9999_broken", ("CREATE TABLE nonsense nonsense",)),),))
        with pytest.raises(ArchiveError):
            prepare(tmp_path)
    assert (tmp_path / INDEX).read_bytes() == before
    assert not (tmp_path / NEXT).exists()


def test_an_index_that_somebody_reads_is_not_copied(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    store(archive, ct())
    archive.database._connection.execute("BEGIN")
    archive.database.rows("SELECT count(*) FROM instance")
    other = Archive(tmp_path)
    store(other, ct("1.2.3.4.2"))
    other.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *a, connect=sqlite3.connect, **k: connect(*a, **k | {"timeout": 0.1}))
        with pytest.raises(ArchiveError, match="somebody has it open"):
            prepare(tmp_path)
    archive.close()
    assert not (tmp_path / NEXT).exists()


def test_where_there_is_no_index_none_is_made(tmp_path: Path) -> None:
    assert prepare(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [True, False], ids=["an older copy", "no index"])
def test_an_older_index_put_back_takes_in_what_came_since(tmp_path: Path, kept: bool) -> None:
    archive = Archive(tmp_path)
    store(archive, ct())
    archive.checkpoint()
    archive.close()
    copy = prepare(tmp_path)
    assert copy is not None
    # The next release receives, settles, converts and decides.
    archive = Archive(tmp_path)
    for number in (2, 3):
        store(archive, ct(f"1.2.3.4.{number}", number=number), pixels=bytes([number]) * 32)
    archive.checkpoint()
    store(archive, ct("1.2.3.4.4", number=4), pixels=bytes([4]) * 32)
    made = derive(archive, "1.2.3")
    settled = {row.name: Settlement(View.RECEIVED | View.CLASSIC) for row in archive.unsettled("1.2.3")}
    archive.record_conversion("1.2.3", [made], settled, {"edition": 1})
    archive.custody.decide("1.2.3", "PACS", View.ENHANCED, "takes them")
    archive.close()
    (tmp_path / RESTORED).touch()
    os.replace(copy, tmp_path / INDEX) if kept else (tmp_path / INDEX).unlink()

    archive = Archive(tmp_path)
    report = archive.recover()
    # One was in the intake folder still; without an index the one of the old release is unknown, too.
    assert (report.returned, report.indexed) == ((2, 3) if kept else (3, 4))
    assert not (tmp_path / RESTORED).exists()
    assert [row.sop_instance for row in archive.select(View.RECEIVED)] == [f"1.2.3.4.{n}" for n in (1, 2, 3, 4)]
    assert [row.sop_instance for row in archive.select(View.ENHANCED)] == [made.sop_instance]
    assert archive.unsettled("1.2.3") == []
    decision = archive.custody.decision("1.2.3", "PACS")
    assert decision is not None
    assert decision.view == View.ENHANCED
    assert debris(archive) == []
    assert tallies(archive) == counted(archive)
    assert archive.recover().returned == 0
    archive.close()
