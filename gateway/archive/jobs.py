"""Work to be done on studies, kept in the index so that it survives the process that does it.

A job is ``waiting`` until it is due, ``running`` in one worker, or ``held`` until somebody looks. What is scheduled
while it runs makes it wait again when it ends. A finished job is gone.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import NamedTuple

from gateway.archive.database import Database
from gateway.clock import Clock

CONVERT = "convert"
DELIVER = "deliver"
COMMIT = "commit"

WAITING = "waiting"
RUNNING = "running"
HELD = "held"

# Follows the AE title in the reason of deliveries that nobody works on.
NOT_CONFIGURED = "is no longer in the configuration"


class Job(NamedTuple):
    """One piece of work.

    Attributes
    ----------
    kind : str
        ``convert``, ``deliver``, or ``commit``: ask for storage commitment.
    destination : str
        AE title; empty for a conversion.
    not_before : float
        When it is due, seconds since the epoch.
    attempts : int
        How often it has been tried in vain.
    reason : str
        Why it waits or is held, in plain words.
    """

    id: int
    kind: str
    study: str
    destination: str
    state: str
    not_before: float
    attempts: int
    reason: str
    created_at: float

    @property
    def hurried(self) -> bool:
        """Whether somebody wants it done now, whatever it waits for (`Jobs.retry_now`)."""
        return self.not_before == 0


_COLUMNS = "id, kind, study, destination, state, not_before, attempts, reason, created_at"

_SCHEDULE = """INSERT INTO job (kind, study, destination, state, not_before, attempts, reason, created_at)
    VALUES (?, ?, ?, 'waiting', ?, 0, ?, ?)
    ON CONFLICT (kind, study, destination) DO UPDATE SET
        again = CASE state WHEN 'running' THEN excluded.not_before END,
        not_before = CASE state WHEN 'running' THEN not_before ELSE excluded.not_before END,
        reason = CASE WHEN excluded.reason = '' THEN reason ELSE excluded.reason END,
        state = CASE state WHEN 'held' THEN 'waiting' ELSE state END"""

_TAKE = f"""UPDATE job SET state = 'running', again = NULL WHERE id = (
        SELECT id FROM job WHERE kind = ? AND destination = ? AND state = 'waiting' AND not_before <= ?
        ORDER BY not_before LIMIT 1)
    RETURNING {_COLUMNS}"""

_UNCONFIGURED = f"state = 'held' AND reason = destination || ' {NOT_CONFIGURED}'"


class Jobs:
    """The jobs of one archive.

    Parameters
    ----------
    database : Database
        The index.
    clock : Clock
        Says what is due.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._seen = -1

    def schedule(
        self, kind: str, study: str, destination: str = "", *, not_before: float | None = None, reason: str = ""
    ) -> None:
        """Have something done at a time, by default now; a job that waits for another time is moved to this one."""
        now = self._clock.now()
        due = now if not_before is None else not_before
        with self._database.transaction() as connection:
            connection.execute(_SCHEDULE, (kind, study, destination, due, reason, now))

    def take(self, kind: str, destination: str = "") -> Job | None:
        """Return the job that has been due for longest, now running, or None."""
        now = self._clock.now()
        due = self.next_due(kind, destination)
        if due is None or due > now:
            return None
        with self._database.transaction() as connection:
            found = connection.execute(_TAKE, (kind, destination, now)).fetchall()
        return Job._make(found[0]) if found else None

    def finish(self, job: Job) -> None:
        """Note that a job is done; it waits again if it was scheduled meanwhile."""
        with self._database.transaction() as connection:
            done = connection.execute(
                "UPDATE job SET state = 'waiting', not_before = again, again = NULL, attempts = 0, reason = ''"
                " WHERE id = ? AND state = 'running' AND again IS NOT NULL",
                (job.id,),
            )
            if not done.rowcount:
                connection.execute("DELETE FROM job WHERE id = ? AND state = 'running'", (job.id,))

    def retry(self, job: Job, reason: str, not_before: float) -> None:
        """Note that a job failed and is to be tried again at a time."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE job SET state = 'waiting', not_before = ?, again = NULL, attempts = attempts + 1, reason = ?"
                " WHERE id = ? AND state = 'running'",
                (not_before, reason, job.id),
            )

    def hold(self, job: Job, reason: str, *, counted: bool = True) -> None:
        """Keep a job until somebody looks or something new is scheduled for it; `counted` as an attempt in vain."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE job SET state = CASE WHEN again IS NULL THEN 'held' ELSE 'waiting' END,"
                " not_before = ifnull(again, not_before), again = NULL, attempts = attempts + ?, reason = ?"
                " WHERE id = ? AND state = 'running'",
                (int(counted), reason, job.id),
            )

    def is_held(self, kind: str, study: str) -> bool:
        """Tell whether work on a study waits for somebody, not for its turn."""
        sql = "SELECT 1 FROM job WHERE kind = ? AND study = ? AND state = 'held'"
        return self._database.row(sql, (kind, study)) is not None

    def noticed(self, job: Job) -> None:
        """Note that what a running job was scheduled for meanwhile is going to be looked at."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE job SET again = NULL WHERE id = ? AND state = 'running'", (job.id,))

    def put_off(self, job: Job, reason: str, not_before: float, attempts: int = 0) -> None:
        """Have a job wait for something until a time, or for less if it was scheduled meanwhile."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE job SET state = 'waiting', not_before = min(?, ifnull(again, ?)), again = NULL, attempts = ?,"
                " reason = ? WHERE id = ? AND state = 'running'",
                (not_before, not_before, attempts, reason, job.id),
            )

    def release_running(self, kind: str, destination: str | None = None) -> int:
        """Let the jobs wait that a worker left running when it died; of every destination unless one is named."""
        with self._database.transaction() as connection:
            return connection.execute(
                "UPDATE job SET state = 'waiting', not_before = min(not_before, ifnull(again, not_before)),"
                " again = NULL WHERE kind = ? AND state = 'running' AND (? IS NULL OR destination = ?)",
                (kind, destination, destination),
            ).rowcount

    def match_destinations(self, configured: Collection[str]) -> int:
        """Hold deliveries to destinations that are not configured (any more) and return how many.

        Those that were held for that reason and whose destination is back wait again.
        """
        known = json.dumps(list(configured))
        unknown = "destination NOT IN (SELECT value FROM json_each(?))"
        with self._database.transaction() as connection:
            connection.execute(
                f"UPDATE job SET state = 'waiting', reason = '' WHERE {_UNCONFIGURED} AND NOT {unknown}", (known,)
            )
            return connection.execute(
                f"UPDATE job SET state = 'held', again = NULL, reason = destination || ' {NOT_CONFIGURED}'"
                f" WHERE kind IN ('{DELIVER}', '{COMMIT}') AND {unknown}",
                (known,),
            ).rowcount

    def retry_now(self, kind: str | None = None, study: str | None = None, destination: str | None = None) -> int:
        """Make waiting and held jobs due at once and return how many; all of them unless narrowed.

        Deliveries to a destination that is not configured stay held: nobody would do them.
        """
        with self._database.transaction() as connection:
            return connection.execute(
                f"UPDATE job SET state = 'waiting', not_before = 0 WHERE state <> 'running' AND NOT ({_UNCONFIGURED})"
                " AND (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR study = ?2) AND (?3 IS NULL OR destination = ?3)",
                (kind, study, destination),
            ).rowcount

    def due_now(self, kind: str, destination: str, reason: str) -> int:
        """Make due what waits at a destination for one reason, and return how many."""
        now = self._clock.now()
        sql = """UPDATE job SET not_before = ?1 WHERE state = 'waiting' AND not_before > ?1
            AND kind = ?2 AND destination = ?3 AND reason = ?4"""
        with self._database.transaction() as connection:
            return connection.execute(sql, (now, kind, destination, reason)).rowcount

    def hasten(self, kind: str, study: str) -> bool:
        """Make a job due that waits only for its time, neither for others nor after a failure; tell whether it did."""
        now = self._clock.now()
        with self._database.transaction() as connection:
            return bool(
                connection.execute(
                    "UPDATE job SET not_before = min(not_before, ?1), again = min(again, ?1)"
                    " WHERE kind = ?2 AND study = ?3 AND state <> 'held' AND attempts = 0 AND reason = ''",
                    (now, kind, study),
                ).rowcount
            )

    def next_due(self, kind: str, destination: str = "") -> float | None:
        """Return when the next waiting job is due, None if none waits."""
        sql = "SELECT min(not_before) FROM job WHERE kind = ? AND destination = ? AND state = 'waiting'"
        found = self._database.row(sql, (kind, destination))
        return found[0] if found else None

    def listing(self, study: str | None = None) -> list[Job]:
        """Return all jobs, or those of one study."""
        where, values = ("WHERE study = ?", (study,)) if study else ("", ())
        sql = f"SELECT {_COLUMNS} FROM job {where} ORDER BY id"
        return [Job._make(row) for row in self._database.rows(sql, values)]

    def changed(self) -> bool:
        """Tell whether another process has committed anything since the last call; cheap enough to poll."""
        found = self._database.row("PRAGMA data_version")
        before, self._seen = self._seen, found[0] if found else 0
        return before != self._seen
