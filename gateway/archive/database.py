"""One connection to the index for each process, shared by its threads in turns."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from gateway.archive.schema import migrate
from gateway.errors import ArchiveError, ResourceError

# Primary result codes of SQLite that mean "not now" or "no room", not "broken" (sqlite.org/rescode.html).
_SHORT_OF = {
    sqlite3.SQLITE_BUSY: "another process keeps it locked",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
}

# A checkpoint costs syncs: the conversion worker makes them, a commit only when that is 8000 pages behind.
_SETTINGS = (
    "synchronous = NORMAL",
    "wal_autocheckpoint = 8000",
    "journal_size_limit = 67108864",
    "foreign_keys = ON",
)


# Steps of SQLite's machine between two looks at whether reading is still wanted: well below a millisecond.
_STEPS = 20_000

# Connections for reading that wait for the next one who reads: to open one takes longer than most queries.
_READERS = 2


class Interrupted(Exception):
    """Nobody wants the rest of what is being read."""


class Database:
    """The SQLite file of an archive.

    A connection must not cross a fork: make one in each process. Threads share it: a transaction belongs to one thread
    until it ends, others wait.

    Parameters
    ----------
    path : Path
        The database file.
    readonly : bool
        Open an existing database for reading only.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        with self._errors():
            if not readonly:
                migrate(path)
            mode = "ro" if readonly else "rw"
            self._connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode={mode}",
                uri=True,
                timeout=30,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
            for setting in _SETTINGS:
                self._connection.execute(f"PRAGMA {setting}")

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            self._closed = True
            self._connection.close()
            for connection in self._readers:
                connection.close()
            self._readers.clear()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write something; committed as a whole at the end, or not at all. A transaction inside another joins it.

        Raises
        ------
        ResourceError
            If the disk is full or fails, or another process keeps the index locked.
        ArchiveError
            If the database is broken.
        """
        with self._lock, self._errors():
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self._connection
                if self._depth == 1:
                    self._connection.execute("COMMIT")
            except BaseException:
                if self._depth == 1 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def rows(self, sql: str, parameters: Iterable[Any] = ()) -> list[tuple]:
        """Return all rows of a query."""
        with self._lock, self._errors():
            return self._connection.execute(sql, tuple(parameters)).fetchall()

    def row(self, sql: str, parameters: Iterable[Any] = ()) -> tuple | None:
        """Return the first row of a query."""
        with self._lock, self._errors():
            return self._connection.execute(sql, tuple(parameters)).fetchone()

    @contextlib.contextmanager
    def reading(self, interrupted: Callable[[], bool] = lambda: False) -> Iterator[sqlite3.Connection]:
        """Read much, row by row, on a connection of its own: others neither wait for it nor change what it sees.

        Cursors have to be closed before the end.

        Parameters
        ----------
        interrupted : callable
            Looked at again and again while SQLite works; once it returns True, reading ends with `Interrupted`.
        """
        with self._errors(interrupted):
            connection = self._reader()
            try:
                connection.set_progress_handler(interrupted, _STEPS)
                yield connection
            finally:
                connection.set_progress_handler(None, 0)
                with self._lock:
                    keep = not self._closed and len(self._readers) < _READERS
                    if keep:
                        self._readers.append(connection)
                if not keep:
                    connection.close()

    def _reader(self) -> sqlite3.Connection:
        with self._lock:
            if self._readers:
                return self._readers.pop()
        uri = f"{self.path.resolve().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)

    @contextlib.contextmanager
    def _errors(self, interrupted: Callable[[], bool] = lambda: False) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT and interrupted():
                raise Interrupted from None
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _SHORT_OF:
                raise ResourceError(str(self.path), _SHORT_OF[code], found=str(error)) from error
            raise ArchiveError(
                str(self.path), "cannot be used", found=str(error), remedy="see `gateway doctor`"
            ) from error
