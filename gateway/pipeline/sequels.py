"""What follows from what became of an instance: it is there, it is tried again, or it is held as not deliverable.

How often an instance is tried depends on what the destination says. Held means: nothing of it is sent again until
somebody runs `gateway queue retry`, or, where the destination took no presentation context for it, until it takes one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.archive.custody import DELIVERED, FAILED, REFUSED, Delivery
from gateway.errors import BrokenOff, NetworkError, Unanswered
from gateway.retrieval.transcript import Fate, Outcome
from gateway.standard.statuses import Kind, kind_of

# An answer of a kind after so many in a row, of whatever kinds named here, and an instance is held. For a kind that is
# missing it never is, and such an answer in between neither counts nor lets the others be forgotten.
ATTEMPTS: dict[Kind, int] = {Kind.REFUSED: 1, Kind.DENIED: 3, Kind.FAULT: 10, Kind.OTHER: 10}

# After so many times without an answer in time; each time the answer is waited for longer (`network.sender`).
UNANSWERED = 4
# After so many times that the destination broke off at it, and took something else in between.
BROKEN_OFF = 10

# So many instances, one after the other, that it is too short of something for: then everything waits.
BUSY_IN_A_ROW = 3

OTHER_VERSION = "it keeps another version under this UID; remove that one there, or leave it"


class Sequel(NamedTuple):
    """What follows for one instance: its state, why, and how often in a row it was so."""

    state: str
    reason: str
    tries: int = 0


def of_answer(outcome: Outcome, before: Delivery | None, *, versions: bool) -> Sequel:
    """Return what follows from an outcome.

    Parameters
    ----------
    outcome : Outcome
        Of an instance that was answered, refused unsent, or could not be read.
    before : Delivery or None
        How it stood with it.
    versions : bool
        Whether there has been another object of its UID.
    """
    if outcome.delivered:
        return Sequel(DELIVERED, outcome.comment)
    if outcome.fate == Fate.REFUSED:
        return Sequel(REFUSED, outcome.reason)
    if outcome.fate == Fate.UNSENDABLE:
        # It would be so the next time; that the destination takes contexts for it changes nothing.
        return Sequel(REFUSED, outcome.reason, 1)
    if outcome.local is not None:
        return Sequel(FAILED, outcome.reason, 1)
    kind = kind_of(outcome.status)
    if kind == Kind.THERE:
        # What it keeps can only be what it did not acknowledge, or has from somebody else, unless there are two.
        reason = outcome.reason
        return Sequel(REFUSED, f"{reason}: {OTHER_VERSION}", 1) if versions else Sequel(DELIVERED, reason)
    tries = before.tries if before is not None and before.status is not None else 0
    counts = kind in ATTEMPTS
    same = before is None or before.status is None or not tries or kind_of(before.status) == kind
    return _after(outcome.reason, tries + counts, ATTEMPTS.get(kind), same=same)


def of_break(error: NetworkError | None, reason: str, before: Delivery | None, *, blamed: bool) -> Sequel:
    """Return what follows for the instance that was under way when the connection broke.

    Parameters
    ----------
    error : NetworkError or None
        How it broke.
    reason : str
        The same in plain words.
    before : Delivery or None
        How it stood with it.
    blamed : bool
        Whether the destination has taken something since it broke off the last time: so the instance is the reason.
    """
    tries = before.tries if before is not None and before.status is None else 0
    if isinstance(error, Unanswered):
        return _after(reason, tries + 1, UNANSWERED)
    counts = isinstance(error, BrokenOff) and blamed
    return _after(reason, max(1, tries + counts), BROKEN_OFF)


def _after(reason: str, tries: int, limit: int | None, *, same: bool = True) -> Sequel:
    if limit is None or tries < limit:
        return Sequel(FAILED, reason, tries)
    if tries > 1:
        reason = f"{reason}, {tries} times" if same else f"{reason}, after {tries} such answers"
    return Sequel(REFUSED, reason, tries)


@dataclass
class Tally:
    """What one attempt has come to.

    Attributes
    ----------
    delivered : int
        Instances that the destination has now.
    warnings : Counter of int
        How many of them came with which status besides Success.
    failed, refused : Counter of str
        How many were not taken, by reason: those that are tried again, and those that are not.
    """

    delivered: int = 0
    warnings: Counter[int] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def add(self, sequel: Sequel, status: int) -> None:
        """Count one instance."""
        if sequel.state == DELIVERED:
            self.delivered += 1
            self.warnings[status] += status != 0
        else:
            (self.refused if sequel.state == REFUSED else self.failed)[sequel.reason] += 1


def reasons(counts: Counter[str], most: int = 3) -> str:
    """Say why instances were not taken, the most frequent reason first: ``one (7 instances); another``."""
    named = [f"{text} ({n} instances)" if n > 1 and len(counts) > 1 else text for text, n in counts.most_common(most)]
    return "; ".join(named + ["other reasons"] * (len(counts) > most))
