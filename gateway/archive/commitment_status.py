"""How it stands with the storage commitment of a study at each destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.archive.custody import ASKED, COMMITTED, EXCLUDED, REFUSED
from gateway.archive.jobs import COMMIT, WAITING, Job

if TYPE_CHECKING:
    from gateway.archive.database import Database

_COUNTS = """SELECT destination, commitment, count(*), max(commitment_reason) FROM delivery
    WHERE study = ? AND state = 'delivered' GROUP BY destination, commitment"""

# Names in the answer: what nobody has been asked for has the empty state.
_NAMES = {ASKED: "asked", COMMITTED: "committed", REFUSED: "refused", EXCLUDED: "excluded", "": "unasked"}


def of_study(database: Database, study: str, jobs: list[Job]) -> dict[str, dict[str, Any]]:
    """Return by AE title what each destination has been asked and has answered.

    Returns
    -------
    dict
        For each destination the numbers of instances ``asked`` (not answered yet), ``committed``, ``refused``,
        ``excluded`` (they refer to their pixels) and ``unasked``; ``state`` of the job, or empty; ``next_attempt``; and
        ``reason``: what it waits for, or why something is not committed.
    """
    found: dict[str, dict[str, Any]] = {}
    for destination, state, count, reason in database.rows(_COUNTS, (study,)):
        one = found.setdefault(destination, nothing())
        one[_NAMES[state]] = count
        one["reason"] = one["reason"] or (reason if state in ("", REFUSED, EXCLUDED) else "")
    for job in jobs:
        if job.kind == COMMIT:
            one = found.setdefault(job.destination, nothing())
            one["state"] = job.state
            one["next_attempt"] = job.not_before if job.state == WAITING else None
            one["reason"] = job.reason or one["reason"]
    return found


def nothing() -> dict[str, Any]:
    """Return what is said of a destination that nobody has asked."""
    return {**dict.fromkeys(_NAMES.values(), 0), "state": "", "next_attempt": None, "reason": ""}
