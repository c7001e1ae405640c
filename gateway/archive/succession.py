"""The index on its way from one release of the gateway to the next.

``python -m gateway.archive.succession DATA_DIR``, run by the next release while no gateway runs, leaves a migrated copy
of the index beside it, or nothing: the index itself is not touched. Whoever puts an older copy back in its place writes
`RESTORED` first: the next start then takes in again what that copy does not know (`gateway.archive.recovery`).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from pathlib import Path

from gateway.archive import backfill
from gateway.archive.database import Database
from gateway.archive.durable import sync_folder
from gateway.errors import ArchiveError

INDEX = "index.sqlite3"
NEXT = "index.next.sqlite3"
RESTORED = "index.restored"


def prepare(data_dir: Path) -> Path | None:
    """Copy the index and migrate the copy; None where there is no index yet.

    Raises
    ------
    ArchiveError
        If a gateway has the index open, or the copy cannot be migrated; there is no copy then.
    """
    index, copy = data_dir / INDEX, data_dir / NEXT
    if not index.exists():
        return None
    _remove(copy)
    try:
        _copy(index, copy)
        database = Database(copy)
        backfill.columns(database)
        database.close()
        _fold(copy)
    except BaseException:
        _remove(copy)
        raise
    with open(copy, "rb") as file:
        os.fsync(file.fileno())
    sync_folder(data_dir)
    return copy


def _copy(index: Path, copy: Path) -> None:
    _fold(index)
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with (
        contextlib.closing(sqlite3.connect(f"{index.resolve().as_uri()}?mode=rw", uri=True, timeout=30)) as old,
        contextlib.closing(sqlite3.connect(copy)) as new,
    ):
        old.backup(new)


def _fold(index: Path) -> None:
    """Put the log of a database into its file, so that the file alone is all of it."""
    uri = f"{index.resolve().as_uri()}?mode=rw"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise ArchiveError(str(index), "somebody has it open", remedy="stop the gateway and what looks at it")


def _remove(copy: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        copy.with_name(copy.name + suffix).unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        prepare(Path(sys.argv[1]))
    except ArchiveError as error:
        sys.exit(str(error))
