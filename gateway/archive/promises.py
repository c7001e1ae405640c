"""What others want the box to promise: requests for storage commitment, and what was found (PS3.4 annex J).

A request is a durable record before its sender is told Success: a power cut may take the last commits of the index,
never a record. What was found stays in the index; after a loss it is found again. The record goes when the request has
had its answer; the row stays, because a Transaction UID is used once only (REQUIREMENTS J3).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.archive.damage import Damages
from gateway.archive.database import Database
from gateway.archive.files import Files, key_of
from gateway.archive.records import write_record
from gateway.clock import Clock
from gateway.errors import DamagedError
from gateway.observe import event, fault

# States of a request: being looked into; answer known, to be given; nobody can be told; told; nobody could be told.
OPEN = "open"
READY = "ready"
HELD = "held"
ANSWERED = "answered"
GIVEN_UP = "given up"

COMMITTED = 0

# Why nobody can be told, after the requester's name.
NO_ADDRESS = "has no host and port in its [[peer]] entry"

# References looked at together.
BATCH = 500


class Promise(NamedTuple):
    """One request.

    Attributes
    ----------
    requester, called : str
        AE titles of who has promise and of the application entity of the box that was promise.
    transaction : str
        Transaction UID.
    state : str
        One of the states of this module.
    due : float
        When it is to be looked at, or answered, next.
    kept_until : float
        Until then whoever has set it gives the answer: an association that the requester still holds.
    attempts : int
        Attempts to give the answer.
    reason : str
        Why there is no answer yet, in plain words.
    references, committed, failed : int
        How many there are, and what was found so far.
    """

    id: int
    name: str
    requester: str
    called: str
    transaction: str
    state: str
    asked_at: float
    due: float
    kept_until: float
    attempts: int
    reason: str
    references: int
    committed: int
    failed: int
    concluded_at: float | None


class Reference(NamedTuple):
    """One reference of a request; what was found is None as long as nothing was: 0, or a Failure Reason."""

    position: int
    sop_class: str
    sop_instance: str
    found: int | None
    reason: str
    retrieve_ae: str


class Verdict(NamedTuple):
    """What was found about a reference.

    Attributes
    ----------
    found : int
        `COMMITTED` or a Failure Reason (PS3.3 C.14.1.1).
    reason : str
        The same for people.
    retrieve_ae : str
        The AE title that it can be retrieved from for as long as the commitment holds, if there is one.
    """

    found: int
    reason: str = ""
    retrieve_ae: str = ""


_COLUMNS = (
    "id, name, requester, called, transaction_uid, state, asked_at, due, kept_until, attempts, reason, total,"
    " committed, failed, concluded_at"
)
_REFERENCE = "position, sop_class, sop_instance, found, reason, retrieve_ae"


class Promises:
    """The requests of one archive.

    Parameters
    ----------
    database : Database
        The index.
    files : Files
        Holds the durable records.
    clock : Clock
        Dates them.
    """

    def __init__(self, database: Database, files: Files, clock: Clock) -> None:
        self._database = database
        self._files = files
        self._clock = clock
        self._damages = Damages(database, files, clock)

    # What comes in

    def ask(
        self, requester: str, called: str, transaction: str, references: Iterable[Sequence[str]], kept: float = 0
    ) -> Promise | None:
        """Take a request: first its durable record, then its row. None if the Transaction UID has been used.

        Parameters
        ----------
        requester, called, transaction : str
            See `Promise`.
        references : iterable of (str, str)
            SOP Class UID and SOP Instance UID of each reference.
        kept : float
            Seconds for which the caller gives the answer.

        Raises
        ------
        ResourceError
            If it cannot be written; nothing is left of it then.
        """
        now = self._clock.now()
        record = {
            "requester": requester,
            "called": called,
            "transaction": transaction,
            "asked_at": now,
            "references": list(references),
        }
        name = f"promise-{key_of(requester, transaction)}"
        path = self._files.record_path(name)
        try:
            # Nobody else can take the same Transaction UID meanwhile.
            with self._database.transaction() as connection:
                sql = "SELECT 1 FROM promise WHERE name = ?"
                if connection.execute(sql, (name,)).fetchone():
                    return None
                fault("promise.before_record")
                write_record(path, record)
                _insert(connection, name, record, now + kept)
                fault("promise.before_commit")
        except Exception:
            path.unlink(missing_ok=True)
            raise
        fault("promise.after_commit")
        return self._one("name = ?", name)

    def replay(self) -> int:
        """Put the records that the index does not contain into it, remove those of answered requests; return how many.

        One that is damaged is noted and stays.
        """
        states = dict(self._database.rows("SELECT name, state FROM promise"))
        missing = 0
        for path in sorted(self._files.records.glob("promise-*.json")):
            if states.get(path.stem) in (ANSWERED, GIVEN_UP):
                path.unlink(missing_ok=True)
            elif path.stem not in states:
                with contextlib.suppress(DamagedError):
                    record = self._damages.record(path)
                    with self._database.transaction() as connection:
                        missing += _insert(connection, path.stem, record, 0)
        return missing

    # What is found

    def due(self, state: str) -> list[Promise]:
        """Return the requests of a state that are due and that nobody keeps to himself, the longest due first."""
        now = self._clock.now()
        kept = " AND kept_until <= ?2" if state == READY else ""
        return self._many(f"state = ?1 AND due <= ?2{kept} ORDER BY due", state, now)

    def undecided(self, promise: Promise) -> Iterator[list[Reference]]:
        """Yield the references of a request about which nothing was found, some hundred at a time."""
        after = -1
        sql = f"""SELECT {_REFERENCE} FROM promise_reference
            WHERE promise = ? AND found IS NULL AND position > ? ORDER BY position LIMIT {BATCH}"""
        while rows := self._database.rows(sql, (promise.id, after)):
            after = rows[-1][0]
            yield [Reference._make(row) for row in rows]

    def decide(self, promise: Promise, verdicts: Mapping[int, Verdict]) -> None:
        """Note what was found about references, by position; what was found before stays."""
        sql = """UPDATE promise_reference SET found = ?, reason = ?, retrieve_ae = ?
            WHERE promise = ? AND position = ? AND found IS NULL"""
        committed = failed = 0
        with self._database.transaction() as connection:
            for position, verdict in verdicts.items():
                changed = connection.execute(sql, (*verdict, promise.id, position)).rowcount
                committed += changed * (verdict.found == COMMITTED)
                failed += changed * (verdict.found != COMMITTED)
            connection.execute(
                "UPDATE promise SET committed = committed + ?, failed = failed + ? WHERE id = ?",
                (committed, failed, promise.id),
            )

    def look_again(self, promise: Promise, due: float, reason: str) -> None:
        """Note when a request that is not decided is to be looked at again, and what it waits for."""
        self._set(promise, "due = ?, reason = ?", due, reason)

    def settle(self, promise: Promise) -> None:
        """Note that every reference was decided about: the answer can be given."""
        self._set(promise, f"state = '{READY}', due = ?, reason = ''", self._clock.now())

    # The answer

    def answer(self, promise: Promise) -> Iterator[Reference]:
        """Yield the references of a request with what was found, those that failed first."""
        for failed in (1, 0):
            after = -1
            sql = f"""SELECT {_REFERENCE} FROM promise_reference
                WHERE promise = ? AND (found <> {COMMITTED}) = {failed} AND position > ?
                ORDER BY position LIMIT {BATCH}"""
            while rows := self._database.rows(sql, (promise.id, after)):
                after = rows[-1][0]
                yield from map(Reference._make, rows)

    def retrieve_ae(self, promise: Promise) -> str:
        """Return the AE title that everything committed to can be retrieved from, empty if there is none for all."""
        sql = f"SELECT DISTINCT retrieve_ae FROM promise_reference WHERE promise = ? AND found = {COMMITTED} LIMIT 2"
        found = self._database.rows(sql, (promise.id,))
        return found[0][0] if len(found) == 1 else ""

    def get(self, promise: Promise) -> Promise | None:
        """Return a request as it is now."""
        return self._one("id = ?", promise.id)

    def keep(self, promise: Promise, until: float) -> bool:
        """Let the caller give the answer until a time; False if somebody else does, or it was given."""
        sql = f"""UPDATE promise SET kept_until = ?
            WHERE id = ? AND kept_until = ? AND state IN ('{OPEN}', '{READY}', '{HELD}')"""
        with self._database.transaction() as connection:
            return bool(connection.execute(sql, (until, promise.id, promise.kept_until)).rowcount)

    def leave(self, promise: Promise) -> None:
        """Let somebody else give the answer."""
        self._set(promise, "kept_until = 0")

    def release(self) -> None:
        """Let every answer be given by whoever can: nobody is there any more who was about to."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE promise SET kept_until = 0 WHERE kept_until > 0")

    def retry(self, promise: Promise, reason: str, due: float) -> None:
        """Note an attempt to give the answer in vain."""
        self._set(promise, "attempts = attempts + 1, reason = ?, due = ?, kept_until = 0", reason, due)

    def postpone(self, promise: Promise, reason: str, due: float) -> None:
        """Put off all answers to the same requester: it is not there."""
        sql = f"UPDATE promise SET due = max(due, ?), reason = ? WHERE requester = ? AND state = '{READY}'"
        with self._database.transaction() as connection:
            connection.execute(sql, (due, reason, promise.requester))

    def hurry(self, promise: Promise) -> None:
        """Make all answers to the same requester due: it is there."""
        sql = f"UPDATE promise SET due = 0 WHERE requester = ? AND state = '{READY}'"
        with self._database.transaction() as connection:
            connection.execute(sql, (promise.requester,))

    def unanswered(self, before: float) -> list[Promise]:
        """Return the requests from before a time whose answer nobody has taken."""
        return self._many(f"state IN ('{READY}', '{HELD}') AND asked_at < ? ORDER BY asked_at", before)

    def hold(self, promise: Promise, reason: str) -> None:
        """Keep an answer that cannot be given until somebody changes something."""
        self._set(promise, f"state = '{HELD}', reason = ?", reason)

    def release_held(self) -> None:
        """Try to give the answers that were held: the configuration may be another one."""
        with self._database.transaction() as connection:
            connection.execute(f"UPDATE promise SET state = '{READY}', due = 0 WHERE state = '{HELD}'")

    def retry_now(self, requester: str | None = None) -> int:
        """Look at, and answer, what is owed to a requester now, by default to all; return how many requests that is."""
        sql = f"""UPDATE promise SET due = 0, state = CASE state WHEN '{HELD}' THEN '{READY}' ELSE state END
            WHERE state IN ('{OPEN}', '{READY}', '{HELD}') AND (?1 IS NULL OR requester = ?1)"""
        with self._database.transaction() as connection:
            return connection.execute(sql, (requester,)).rowcount

    def owed(self, requester: str | None = None) -> list[Promise]:
        """Return the requests that have no answer yet, the oldest first."""
        states = f"state IN ('{OPEN}', '{READY}', '{HELD}')"
        return self._many(f"{states} AND (?1 IS NULL OR requester = ?1) ORDER BY asked_at", requester)

    def answered(self, promise: Promise, how: str) -> None:
        """Note that the requester has taken the answer; what was found about each reference is forgotten."""
        self._conclude(promise, ANSWERED, "")
        event(
            "promise.answered",
            peer=promise.requester,
            transaction=promise.transaction,
            how=how,
            committed=promise.committed,
            failed=promise.failed or None,
            seconds=round(self._clock.now() - promise.asked_at, 1),
        )

    def give_up(self, promise: Promise) -> None:
        """Note that nobody has taken the answer; what was found about each reference is forgotten."""
        self._conclude(promise, GIVEN_UP, promise.reason)

    def _conclude(self, promise: Promise, state: str, reason: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                f"UPDATE promise SET state = ?, reason = ?, concluded_at = ? WHERE id = ?"
                f" AND state NOT IN ('{ANSWERED}', '{GIVEN_UP}')",
                (state, reason, self._clock.now(), promise.id),
            )
            connection.execute("DELETE FROM promise_reference WHERE promise = ?", (promise.id,))
        self._files.record_path(promise.name).unlink(missing_ok=True)

    def forget(self, before: float) -> int:
        """Remove requests that were concluded before a time and return how many."""
        with self._database.transaction() as connection:
            return connection.execute("DELETE FROM promise WHERE concluded_at < ?", (before,)).rowcount

    # How it stands

    def counts(self) -> dict[str, int]:
        """Return the number of requests of each state."""
        return dict(self._database.rows("SELECT state, count(*) FROM promise GROUP BY state"))

    def listing(self, limit: int = 100) -> list[Promise]:
        """Return the latest requests, those without an answer first."""
        order = f"state IN ('{ANSWERED}', '{GIVEN_UP}'), asked_at DESC, id DESC LIMIT ?"
        return self._many(f"1 ORDER BY {order}", limit)

    def _set(self, promise: Promise, change: str, *values: object) -> None:
        with self._database.transaction() as connection:
            connection.execute(f"UPDATE promise SET {change} WHERE id = ?", (*values, promise.id))

    def _many(self, condition: str, *values: object) -> list[Promise]:
        sql = f"SELECT {_COLUMNS} FROM promise WHERE {condition}"
        return [Promise._make(row) for row in self._database.rows(sql, values)]

    def _one(self, condition: str, *values: object) -> Promise | None:
        return next(iter(self._many(condition, *values)), None)


def _insert(connection: sqlite3.Connection, name: str, record: Mapping[str, Any], kept_until: float) -> int:
    """Put a request into the index; 0 if it is there."""
    values = (name, record["requester"], record["called"], record["transaction"], OPEN, record["asked_at"], kept_until)
    inserted = connection.execute(
        """INSERT OR IGNORE INTO promise
            (name, requester, called, transaction_uid, state, asked_at, due, kept_until, attempts, reason, total)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, 0, '', ?8)""",
        (*values, len(record["references"])),
    )
    if not inserted.rowcount:
        return 0
    connection.executemany(
        "INSERT INTO promise_reference (promise, position, sop_class, sop_instance) VALUES (?, ?, ?, ?)",
        ((inserted.lastrowid, position, *pair) for position, pair in enumerate(record["references"])),
    )
    return 1
