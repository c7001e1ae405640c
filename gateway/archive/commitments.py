"""Storage commitment asked of the destinations: transactions, and what their answers say (PS3.4 annex J).

What has been asked, and what was answered, stands in durable records before the request leaves and before the answer is
acknowledged; the index is filled from them. So a commitment that a destination has given is not forgotten, and with it
it is known again after a rebuild that the object had been delivered.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from gateway.archive.custody import ASKED, COMMITTED, DELIVERED, EXCLUDED, PENDING, REFUSED
from gateway.archive.damage import Damages
from gateway.archive.database import Database
from gateway.archive.files import Files, key_of
from gateway.archive.records import write_record
from gateway.archive.rows import InstanceRow
from gateway.clock import Clock
from gateway.errors import DamagedError
from gateway.observe import fault
from gateway.standard.commitment import NO_SUCH_OBJECT, REFERENCED_PIXELS, failure_text

ANSWERED = "answered"
# Nobody waits for the answer any more; it counts if it comes.
OVERDUE = "overdue"

CONTRADICTORY = "the destination says both that it commits to it and that it does not"
NOT_MENTIONED = "the destination's answer says nothing of it"
NOT_ANSWERED = "no answer to the request for storage commitment"


class Transaction(NamedTuple):
    """One request for storage commitment.

    Attributes
    ----------
    uid : str
        Transaction UID; used once.
    study, destination : str
        Whose instances are asked for, and of whom.
    state : str
        ``asked``, ``answered`` or ``overdue``.
    asked_at, answered_at : float
        When; the latter None as long as there is no answer.
    """

    uid: str
    study: str
    destination: str
    state: str
    asked_at: float
    answered_at: float | None


@dataclass(frozen=True)
class Verdict:
    """What an answer came to.

    Attributes
    ----------
    study : str
        The study that had been asked for.
    committed, refused : int
        Numbers of instances.
    unknown : int
        References in the answer that had not been asked for.
    repeated : bool
        The transaction was answered before; this answer changes nothing.
    """

    study: str
    committed: int = 0
    refused: int = 0
    unknown: int = 0
    repeated: bool = False


@dataclass
class Lists:
    """The two lists of an answer.

    Attributes
    ----------
    committed : dict of str to str
        SOP Class UID by SOP Instance UID.
    failed : dict of str to int
        Failure Reason by SOP Instance UID.
    """

    committed: dict[str, str] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)


class Commitments:
    """The transactions of one archive.

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

    def ask(self, study: str, destination: str, rows: Sequence[InstanceRow]) -> Transaction:
        """Open a transaction about instances that the destination has taken; it is durable before this returns.

        Raises
        ------
        ResourceError
            If the record cannot be written; nothing may be asked then.
        """
        uid, asked_at = f"2.25.{uuid.uuid4().int}", self._clock.now()
        record = {
            "transaction": uid,
            "study": study,
            "destination": destination,
            "asked_at": asked_at,
            "instances": [[row.sop_instance, row.sop_class, row.digest] for row in rows],
        }
        write_record(self._path("asked", uid), record)
        fault("commit.recorded")
        self._apply_asked(record)
        return Transaction(uid, study, destination, ASKED, asked_at, None)

    def withdraw(self, transaction: Transaction, reason: str) -> None:
        """Note that the destination has not taken the request: its Transaction UID will never be answered."""
        with self._database.transaction() as connection:
            instances = self._instances(transaction.uid)
            connection.execute("DELETE FROM asked WHERE uid = ?", (transaction.uid,))
            connection.executemany(
                "UPDATE delivery SET commitment = '', commitment_reason = ? WHERE study = ? AND destination = ?"
                " AND sop_instance = ? AND commitment = 'asked'",
                [(reason, transaction.study, transaction.destination, one[0]) for one in instances],
            )
        self._path("asked", transaction.uid).unlink(missing_ok=True)

    def answered(self, destination: str, uid: str, lists: Lists) -> Verdict | None:
        """Record an answer, however late it comes; durable before this returns.

        A reference that is in exactly one list stands there. One that is in both, in neither, or committed to as
        another class, is not committed.

        Parameters
        ----------
        destination : str
            Who answers.
        uid : str
            Transaction UID.
        lists : Lists
            What it says.

        Returns
        -------
        Verdict or None
            None if that destination has not been asked under this Transaction UID.

        Raises
        ------
        ResourceError
            If the record cannot be written; nothing is changed then.
        """
        sql = "SELECT study, state FROM asked WHERE uid = ? AND destination = ?"
        found = self._database.row(sql, (uid, destination))
        if found is None:
            return None
        if found[1] == ANSWERED:
            return Verdict(found[0], repeated=True)
        path = self._path("answered", uid)
        record = self._readable(path)  # what was said first stands, and may be acknowledged already
        if record is None:
            now = self._clock.now()
            record = {"transaction": uid, "answered_at": now, "committed": lists.committed, "failed": lists.failed}
            write_record(path, record)
        fault("commit.answer_recorded")
        return self._apply_answered(record)

    def exclude(self, study: str, destination: str, rows: Sequence[InstanceRow]) -> None:
        """Note what nobody may commit to (J.1.1)."""
        sql = """UPDATE delivery SET commitment = ?, commitment_reason = ?, commitment_at = ?
            WHERE study = ? AND destination = ? AND sop_instance = ? AND commitment <> ?"""
        now = self._clock.now()
        with self._database.transaction() as connection:
            for row in rows:
                name = REFERENCED_PIXELS.get(row.transfer_syntax, row.transfer_syntax)
                reason = f"its pixel data are elsewhere ({name}): it is never asked for (PS3.4 J.1.1)"
                connection.execute(sql, (EXCLUDED, reason, now, study, destination, row.sop_instance, EXCLUDED))

    def renounce(self, study: str, destination: str, reason: str) -> None:
        """Say of everything delivered that nobody has been asked about why it is so."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE delivery SET commitment_reason = ? WHERE study = ? AND destination = ? AND commitment = ''"
                " AND state = 'delivered'",
                (reason, study, destination),
            )

    def give_up(self, transaction: Transaction) -> int:
        """Have asked again what an open transaction was about, and return how much; a late answer still counts."""
        rows = self._instances(transaction.uid)
        sql = """UPDATE delivery SET commitment = '', commitment_reason = ? WHERE study = ? AND destination = ?
            AND sop_instance = ? AND commitment = 'asked'"""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE asked SET state = 'overdue' WHERE uid = ? AND state = 'asked'", (transaction.uid,)
            )
            return sum(
                connection.execute(sql, (NOT_ANSWERED, transaction.study, transaction.destination, row[0])).rowcount
                for row in rows
            )

    def deliver_again(self, study: str, destination: str, limit: int) -> int:
        """Have delivered again what the destination says it does not have, `limit` times at most; return how much."""
        sql = """UPDATE delivery SET state = ?, reason = commitment_reason, commitment = '', lost = lost + 1
            WHERE study = ? AND destination = ? AND state = ? AND commitment = ? AND failure = ? AND lost < ?"""
        values = (PENDING, study, destination, DELIVERED, REFUSED, NO_SUCH_OBJECT, limit)
        with self._database.transaction() as connection:
            return connection.execute(sql, values).rowcount

    def forgive(self, study: str, destination: str) -> None:
        """Count anew how often what the destination does not have is delivered again."""
        with self._database.transaction() as connection:
            sql = "UPDATE delivery SET lost = 0 WHERE study = ? AND destination = ? AND commitment = ? AND failure = ?"
            connection.execute(sql, (study, destination, REFUSED, NO_SUCH_OBJECT))

    def unasked(self, destination: str) -> list[str]:
        """Return the studies that a destination has, of which something has not been asked for."""
        sql = """SELECT DISTINCT study FROM delivery d WHERE destination = ? AND state = 'delivered' AND commitment = ''
            AND NOT EXISTS (SELECT 1 FROM job j WHERE j.kind = 'deliver' AND j.study = d.study
                AND j.destination = d.destination AND j.state <> 'held') ORDER BY study"""
        return [study for (study,) in self._database.rows(sql, (destination,))]

    def to_ask(self, study: str, destination: str) -> bool:
        """Tell whether a destination has something of a study that it has not been asked for."""
        sql = """SELECT 1 FROM delivery WHERE study = ? AND destination = ? AND state = 'delivered' AND commitment = ''
            LIMIT 1"""
        return self._database.row(sql, (study, destination)) is not None

    def open(self, study: str, destination: str) -> list[Transaction]:
        """Return the transactions that wait for an answer, the oldest first."""
        sql = """SELECT uid, study, destination, state, asked_at, answered_at FROM asked
            WHERE study = ? AND destination = ? AND state = 'asked' ORDER BY asked_at"""
        return [Transaction._make(row) for row in self._database.rows(sql, (study, destination))]

    def awaited(self, study: str | None = None, destination: str | None = None) -> list[tuple[Transaction, int]]:
        """Return the transactions that destinations have not answered, each with its number of instances."""
        sql = """SELECT uid, study, destination, state, asked_at, answered_at, json_array_length(instances) FROM asked
            WHERE state = 'asked' AND (?1 IS NULL OR study = ?1) AND (?2 IS NULL OR destination = ?2)
            ORDER BY asked_at"""
        rows = self._database.rows(sql, (study, destination))  # type: ignore[arg-type]
        return [(Transaction._make(row[:6]), row[6]) for row in rows]

    def is_open(self, transaction: Transaction) -> bool:
        """Tell whether a transaction still waits for its answer."""
        found = self._database.row("SELECT state FROM asked WHERE uid = ?", (transaction.uid,))
        return found == (ASKED,)

    def replay(self) -> int:
        """Put the records that the index does not contain into it and return their number; damaged ones are noted."""
        states = {key_of(uid): state for uid, state in self._database.rows("SELECT uid, state FROM asked")}
        asked = {path.stem.partition("-")[2]: path for path in self._files.records.glob("asked-*.json")}
        answered = {path.stem.partition("-")[2]: path for path in self._files.records.glob("answered-*.json")}
        count = 0
        for key in sorted(asked.keys() - states.keys()):
            if (record := self._readable(asked[key])) is not None:
                self._apply_asked(record)
                states[key] = ASKED
                count += 1
        for key in sorted(answered.keys() & states.keys()):
            if states[key] != ANSWERED and (record := self._readable(answered[key])) is not None:
                self._apply_answered(record)
                count += 1
        return count

    def _readable(self, path: Path) -> dict[str, Any] | None:
        """Return what a record says, None if there is none that can be believed; a damaged one is noted."""
        try:
            return self._damages.record(path)
        except (FileNotFoundError, DamagedError):
            return None

    # Records into the index

    def _path(self, what: str, uid: str) -> Path:
        return self._files.record_path(f"{what}-{key_of(uid)}")

    def _apply_asked(self, record: dict[str, Any]) -> None:
        study, destination, asked_at = record["study"], record["destination"], record["asked_at"]
        sql = """INSERT INTO delivery
                (study, destination, sop_instance, digest, state, reason, attempts, at, commitment, commitment_at)
            VALUES (?1, ?2, ?3, ?4, 'delivered', '', 0, ?5, 'asked', ?5) ON CONFLICT DO UPDATE
            SET commitment = 'asked', commitment_reason = '', failure = NULL, commitment_at = excluded.at
            WHERE digest = excluded.digest AND commitment <> 'committed'"""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO asked (uid, study, destination, state, asked_at, instances)"
                " VALUES (?, ?, ?, 'asked', ?, ?)",
                (record["transaction"], study, destination, asked_at, json.dumps(record["instances"])),
            )
            connection.executemany(
                sql,
                [(study, destination, uid, bytes.fromhex(digest), asked_at) for uid, _, digest in record["instances"]],
            )

    def _apply_answered(self, record: dict[str, Any]) -> Verdict:
        uid, at = record["transaction"], record["answered_at"]
        lists = Lists(record["committed"], record["failed"])
        instances = self._instances(uid)
        sql = """UPDATE delivery SET commitment = ?, commitment_reason = ?, failure = ?, commitment_at = ?
            WHERE study = ? AND destination = ? AND sop_instance = ? AND digest = ? AND commitment <> 'committed'"""
        committed = 0
        with self._database.transaction() as connection:
            study, destination = _of(connection, uid)
            for sop_instance, sop_class, digest in instances:
                state, reason, failure = _said(lists, sop_instance, sop_class)
                committed += state == COMMITTED
                values = (state, reason, failure, at, study, destination, sop_instance, bytes.fromhex(digest))
                connection.execute(sql, values)
            connection.execute("UPDATE asked SET state = 'answered', answered_at = ? WHERE uid = ?", (at, uid))
        asked = {one[0] for one in instances}
        unknown = len((lists.committed.keys() | lists.failed.keys()) - asked)
        return Verdict(study, committed, len(instances) - committed, unknown)

    def _instances(self, uid: str) -> list[list[str]]:
        found = self._database.row("SELECT instances FROM asked WHERE uid = ?", (uid,))
        return json.loads(found[0]) if found else []


def _of(connection: sqlite3.Connection, uid: str) -> tuple[str, str]:
    return connection.execute("SELECT study, destination FROM asked WHERE uid = ?", (uid,)).fetchone()


def _said(lists: Lists, sop_instance: str, sop_class: str) -> tuple[str, str, int | None]:
    """Return what an answer says of one instance: state of its commitment, reason, Failure Reason."""
    named = lists.committed.get(sop_instance)
    failure = lists.failed.get(sop_instance)
    if named is not None and failure is not None:
        return REFUSED, CONTRADICTORY, None
    if failure is not None:
        return REFUSED, failure_text(failure), failure
    if named is None:
        return REFUSED, NOT_MENTIONED, None
    if named != sop_class:
        return REFUSED, f"the destination commits to it as another class ({named})", None
    return COMMITTED, "", None
