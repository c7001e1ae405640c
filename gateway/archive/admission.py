"""What becomes of an object that has just been received: new, a copy, another version, or our own (REQUIREMENTS S6).

The objects are compared before the index is locked: that may mean decoding pixels. Then, under the lock, a verdict
holds only if nothing has been stored under that SOP Instance UID meanwhile; else it is judged again. So several objects
can share a transaction, and two of the same UID among them, or in two processes, are one after the other all the same.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.archive.comparison import same_object
from gateway.archive.durable import storage_errors
from gateway.archive.entities import (
    describe,
    describe_instance,
    find_series,
    insert_instance,
    insert_references,
    referred,
    supersede,
)
from gateway.archive.files import digest_of_name
from gateway.archive.jobs import CONVERT
from gateway.archive.partitions import OWN_REASON
from gateway.archive.rows import Admission, InstanceRow
from gateway.archive.views import ALL_VIEWS, NO_VIEW, fresh_views
from gateway.errors import ArchiveError, GatewayError
from gateway.objects.part10 import Header
from gateway.observe import event, fault, warning

if TYPE_CHECKING:
    from gateway.archive.index import Archive


# Versions of one SOP Instance UID that a new arrival is compared with beyond their digests, the latest first.
_MOST_COMPARED = 4


# Seconds between versions that different processes register; beyond that somebody has set the clock back.
_LONGEST_OVERTAKEN = 60.0

_HELD = "SELECT id, name FROM instance WHERE sop_instance = ?"

# What this box has made under a UID of its own: the original of a restored image is no such thing coming back.
_MADE = "SELECT name, digest FROM derived WHERE sop_instance = ? AND kind <> 'restored'"


class Origin(NamedTuple):
    """Where an object came from and what is done with objects from there."""

    peer: str
    called: str = ""
    convert: bool = True
    prior: bool = False


class Arrival(NamedTuple):
    """A committed file that the index is to know.

    Attributes
    ----------
    at : float
        When it was received, seconds since the epoch.
    """

    name: str
    header: Header
    origin: Origin
    at: float


class _Verdict(NamedTuple):
    """What comparing has shown.

    Attributes
    ----------
    seen : list of int
        Ids of all that was held under the SOP Instance UID.
    own : bool
        Whether this box has made an object of that UID.
    equal : str
        Archive name of what is held with the same content, empty if nothing is.
    current : InstanceRow or None
        The current version.
    """

    seen: list[int]
    own: bool
    equal: str
    current: InstanceRow | None


def admit(archive: Archive, name: str, header: Header, origin: Origin) -> Admission:
    """Index one committed file; on failure nothing of it is left, unless the index knows it already."""
    try:
        with storage_errors(name):
            return place(archive, Arrival(name, header, origin, archive.clock.now()))[0]
    except Exception:
        withdraw(archive, name)
        raise


def withdraw(archive: Archive, name: str) -> None:
    """Remove a committed file that nobody was told of, unless the index knows it.

    Not indexed it would be delivered only after the next start. So the peer keeps its copy and is told: nothing is
    lost, and what it sends again is no duplicate. If the index does know the file (what failed came after the commit),
    or cannot be asked, it stays, and sending again makes a duplicate, found as such.
    """
    with contextlib.suppress(GatewayError, OSError):
        if not archive.database.row("SELECT 1 FROM instance WHERE name = ?", (name,)):
            archive.files.remove(name)


def place(archive: Archive, *arrivals: Arrival) -> list[Admission]:
    """Index committed files, all that do not depend on each other in one transaction; on failure they stay."""
    admissions: dict[str, Admission] = {}
    left: Sequence[Arrival] = arrivals
    while left:
        left = _place(archive, left, admissions)
    return [admissions[arrival.name] for arrival in arrivals]


def _place(archive: Archive, arrivals: Sequence[Arrival], admissions: dict[str, Admission]) -> list[Arrival]:
    """Index files in one transaction; return those that something has been stored beside since they were judged."""
    judged = []
    for arrival in arrivals:
        arrival.header.path = archive.files.intake_path(arrival.name)
        judged.append((arrival, _judge(archive, arrival.name, arrival.header)))
    known, placed, again = [], [], []
    studies: set[str] = set()
    with archive.database.transaction() as connection:
        for arrival, verdict in judged:
            seen = connection.execute(_HELD, (arrival.header.sop_instance,)).fetchall()
            if any(held == arrival.name for _, held in seen):
                known.append(arrival)
            elif sorted(row for row, _ in seen) != verdict.seen:
                again.append(arrival)
            else:
                if not verdict.equal:
                    # A recovery may have found it held already, and removed it, while it was compared.
                    archive.files.locate(arrival.name)
                    studies |= _store(archive, connection, arrival, verdict)
                placed.append((arrival, verdict))
        for study in sorted(studies):
            archive.jobs.schedule(CONVERT, study, not_before=archive.clock.now() + archive.quiet)
        if placed:
            fault("admit.before_commit")
    if placed:
        fault("admit.after_commit")
    for arrival in known:
        admissions[arrival.name] = Admission("stored", arrival.name, arrival.header.study)
    for arrival, verdict in placed:
        admissions[arrival.name] = _conclude(archive, arrival, verdict)
    return again


def _judge(archive: Archive, name: str, header: Header) -> _Verdict:
    """Compare a file with what is held under its SOP Instance UID."""
    # Nearly always nothing is; to ask only that is much the faster question.
    held = archive.versions(header.sop_instance) if archive.database.row(_HELD, (header.sop_instance,)) else []
    held = [row for row in held if row.name != name]
    digest = digest_of_name(name)
    made = archive.database.row(_MADE, (header.sop_instance,))
    current = held[0] if held and not held[0].superseded else None
    equal = next((row.name for row in held if row.digest == digest and _present(archive, row)), "")
    if not equal and made and made[1].hex() == digest:
        equal = made[0]
    if not equal:
        equal = next((row.name for row in held[:_MOST_COMPARED] if same_object(archive, row, header)), "")
    return _Verdict(sorted(row.id for row in held), made is not None, equal, current)


def _present(archive: Archive, row: InstanceRow) -> bool:
    """Tell whether the file of a held instance is still there: the only copy must not be taken for a second one."""
    try:
        return archive.path_of(row).exists()
    except ArchiveError:
        return False


def _store(archive: Archive, connection: sqlite3.Connection, arrival: Arrival, verdict: _Verdict) -> set[str]:
    """Insert the row of a file whose content is not held; return the studies that are to be converted."""
    name, header, origin, at = arrival
    old = verdict.current
    # What a destination returns in another form than it was sent never takes the place of what was sent.
    returned = verdict.own or (origin.prior and old is not None and not old.prior)
    late = old is not None and _overtaken(connection, old, at)
    if old is not None and not returned and not late:
        supersede(connection, old.id, f"superseded by {name}")
    settled, views, reason = False, fresh_views(header.sop_class), ""
    if returned:
        settled, views, reason = True, NO_VIEW, OWN_REASON if verdict.own else "returned with other content"
    elif late and old is not None:
        settled, views, reason = True, NO_VIEW, f"superseded by {old.name}"
    references = referred(header.dataset)
    if not returned and not late and origin.prior:
        # Never converted; but what refers to converted objects needs a copy in the view that does not have them.
        settled = not archive.guises(sorted(references))
        views, reason = ALL_VIEWS, f"came from destination {origin.peer}"
    series = find_series(connection, header.study, header.series, archive.clock.now(), lambda: describe(header.dataset))
    row = {
        "sop_instance": header.sop_instance,
        "sop_class": header.sop_class,
        "name": name,
        "kind": "received",
        "transfer_syntax": header.transfer_syntax,
        "length": header.size - header.dataset_offset,
        "dataset_offset": header.dataset_offset,
        "digest": bytes.fromhex(digest_of_name(name)),
        "views": int(views),
        "settled": int(settled),
        "superseded": -1 if returned or late else 0,
        "reason": reason,
        "peer": origin.peer,
        "called": origin.called,
        "convert": int(origin.convert),
        "prior": int(origin.prior),
        "received_at": at,
    }
    instance = insert_instance(connection, series, row, describe_instance(header.dataset))
    if returned or late:
        supersede(connection, instance, reason)
    insert_references(connection, instance, references)
    return set() if settled else {header.study, old.study if old else header.study}


def _overtaken(connection: sqlite3.Connection, current: InstanceRow, at: float) -> bool:
    """Tell whether the current version came after an object that another process is only now registering."""
    (came,) = connection.execute("SELECT received_at FROM instance WHERE id = ?", (current.id,)).fetchone()
    return 0 < came - at < _LONGEST_OVERTAKEN


def _conclude(archive: Archive, arrival: Arrival, verdict: _Verdict) -> Admission:
    """Remove the file if its content is held, and say what happened."""
    name, header, origin, _ = arrival
    fields: dict[str, Any] = {"instance": header.sop_instance, "study": header.study, "peer": origin.peer}
    if verdict.equal:
        fault("admit.before_remove")
        archive.files.remove(name)
        kind = "own" if verdict.own else "duplicate"
        event(f"intake.{kind}", held=verdict.equal, **fields)
        return Admission(kind, verdict.equal, header.study)
    if verdict.own:
        warning("intake.own_changed", stored=name, remedy="ask the destination why it alters objects", **fields)
        return Admission("own", name, header.study)
    if verdict.current is not None:
        warning("intake.version", held=verdict.current.name, stored=name, **fields)
        return Admission("version", name, header.study)
    return Admission("stored", name, header.study)
