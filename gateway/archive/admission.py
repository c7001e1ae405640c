"""What becomes of a received object: new, a copy, another version or image, our own (REQUIREMENTS S6, T3).

The last word of a sender about a SOP Instance UID is the current version, also when it is one that is held already.

The objects are compared before the index is locked: that may mean decoding pixels. Then, under the lock, a verdict
holds only if nothing has been stored under that SOP Instance UID meanwhile; else it is judged again. So several objects
can share a transaction, and two of the same UID among them, or in two processes, are one after the other all the same.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.archive import lastword
from gateway.archive.comparison import Likeness, likeness
from gateway.archive.digests import Parts, parts_of
from gateway.archive.durable import storage_errors
from gateway.archive.entities import (
    describe_instance,
    insert_instance,
    insert_references,
    referred,
    retire,
    supersede,
)
from gateway.archive.files import digest_of_name
from gateway.archive.heal import is_held
from gateway.archive.jobs import CONVERT
from gateway.archive.keys import find_place, said_by
from gateway.archive.partitions import OWN_REASON
from gateway.archive.rows import DERIVED, Admission, InstanceRow
from gateway.archive.views import ALL_VIEWS, NO_VIEW, fresh_views
from gateway.errors import GatewayError
from gateway.objects.part10 import Header
from gateway.observe import event, fault, warning

if TYPE_CHECKING:
    from gateway.archive.index import Archive


# Versions of one SOP Instance UID that a new arrival is compared with beyond their digests, the latest first.
_MOST_COMPARED = 8


# Seconds between versions that different processes register; beyond that somebody has set the clock back.
_LONGEST_OVERTAKEN = 60.0

_HELD = "SELECT id, superseded, name FROM instance WHERE sop_instance = ? ORDER BY id"

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
    seen : list of (int, int)
        All that was held under the SOP Instance UID: id, and whether it was the current version.
    own : bool
        Whether this box has made an object of that UID.
    equal : str
        Archive name of what is held with the same content, empty if nothing is.
    same : InstanceRow or None
        Its row, if it has one.
    current : InstanceRow or None
        The current version.
    image : int
        Which of the images under that UID it is.
    other : bool
        Whether it is the first of that image.
    parts : Parts or None
        Digests of what has come, for the index.
    """

    seen: list[tuple[int, int]]
    own: bool
    equal: str
    same: InstanceRow | None
    current: InstanceRow | None
    image: int
    other: bool
    parts: Parts | None


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
            if any(held == arrival.name for *_, held in seen):
                known.append(arrival)
            elif [(row, superseded) for row, superseded, _ in seen] != verdict.seen:
                again.append(arrival)
            else:
                kind, touched = _decide(archive, connection, arrival, verdict)
                studies |= touched
                placed.append((arrival, verdict, kind))
        for study in sorted(studies):
            archive.jobs.schedule(CONVERT, study, not_before=archive.clock.now() + archive.quiet)
        if placed:
            fault("admit.before_commit")
    if placed:
        fault("admit.after_commit")
    for arrival in known:
        admissions[arrival.name] = Admission("stored", arrival.name, arrival.header.study)
    for arrival, verdict, kind in placed:
        admissions[arrival.name] = _conclude(archive, arrival, verdict, kind)
    return again


def _judge(archive: Archive, name: str, header: Header) -> _Verdict:
    """Compare a file with what is held under its SOP Instance UID."""
    # Nearly always nothing is; to ask only that is much the faster question.
    held = archive.versions(header.sop_instance) if archive.database.row(_HELD, (header.sop_instance,)) else []
    seen = sorted((row.id, row.superseded) for row in held)
    # What was restored here and gave way to its original is no version of anybody's.
    held = [row for row in held if row.name != name and (row.kind != DERIVED or not row.superseded)]
    digest = digest_of_name(name)
    made = archive.database.row(_MADE, (header.sop_instance,))
    current = held[0] if held and not held[0].superseded else None
    image = 0
    same = next((row for row in held if row.digest == digest and is_held(archive, row, name, header)), None)
    equal = same.name if same else ""
    if not equal and made and made[1].hex() == digest:
        equal = made[0]
    if not equal:
        same, image = _compared(archive, held, header)
        equal = same.name if same else ""
    elif same is not None:
        # What a destination has returned is no image of the sender's so far.
        image = same.image if same.spoken else _compared(archive, [row for row in held if row.spoken], header)[1]
    other = image > max((row.image for row in held if row.spoken), default=0)
    parts = None
    if not equal:
        with contextlib.suppress(OSError):  # what cannot be read now is read when somebody needs it
            parts = parts_of(header.path, header)
    return _Verdict(seen, made is not None, equal, same, current, image, other, parts)


def _compared(archive: Archive, held: Sequence[InstanceRow], header: Header) -> tuple[InstanceRow | None, int]:
    """Return what has the same content as a file, if it is held, and which of the images it is a version of."""
    spoken = [row for row in held if row.spoken]
    first = next((row for row in spoken if row.image == 0), None)
    candidates = list(held[:_MOST_COMPARED])
    if first is not None and first not in candidates:
        candidates.append(first)
    image = None if spoken else 0
    same = None
    for row in candidates:
        found = likeness(archive, row, header)
        if found == Likeness.SAME and row.spoken:
            return row, row.image
        if found == Likeness.SAME:
            same = same or row
        elif found == Likeness.VERSION and image is None and row.spoken:
            image = row.image
    return same, image if image is not None else 1 + max(row.image for row in spoken)


def _decide(
    archive: Archive, connection: sqlite3.Connection, arrival: Arrival, verdict: _Verdict
) -> tuple[str, set[str]]:
    """Put what was judged into the index; return the kind of the admission and the studies to be converted."""
    old, origin = verdict.current, arrival.origin
    # What a destination returns in another form than it was sent never takes the place of what was sent.
    returned = verdict.own or (origin.prior and old is not None and not old.prior)
    late = old is not None and _overtaken(connection, old, arrival.at)
    if verdict.equal:
        if verdict.own or returned or late or verdict.same is None or not verdict.same.superseded:
            return "own" if verdict.own else "duplicate", set()
        return "again", _renew(archive, connection, arrival, verdict, verdict.same)
    # A recovery may have found it held already, and removed it, while it was compared.
    archive.files.locate(arrival.name)
    touched = _store(archive, connection, arrival, verdict, returned=returned, late=late)
    if verdict.own or old is None:
        return "own" if verdict.own else "stored", touched
    return "other" if verdict.other and not returned else "version", touched


class _Standing(NamedTuple):
    """How an instance that has come stands in the views before the conversion looks at it."""

    views: int
    settled: int
    reason: str


def _standing(archive: Archive, header: Header, origin: Origin, references: set[str]) -> _Standing:
    if not origin.prior:
        return _Standing(int(fresh_views(header.sop_class)), 0, "")
    # Never converted; but what refers to converted objects needs a copy in the view that does not have them.
    settled = not archive.guises(sorted(references))
    return _Standing(int(ALL_VIEWS), int(settled), f"came from destination {origin.peer}")


def _source(arrival: Arrival) -> dict[str, Any]:
    """Return the columns that say where an object came from."""
    origin = arrival.origin
    return {
        "peer": origin.peer,
        "called": origin.called,
        "convert": int(origin.convert),
        "prior": int(origin.prior),
        "received_at": arrival.at,
    }


def _renew(
    archive: Archive, connection: sqlite3.Connection, arrival: Arrival, verdict: _Verdict, same: InstanceRow
) -> set[str]:
    """Make what is held with the content of a file the current version; return the studies to be converted."""
    header, old = arrival.header, verdict.current
    source = _source(arrival)
    lastword.record(archive, header.sop_instance, same.name, source)
    standing = _standing(archive, header, arrival.origin, referred(header.dataset))
    values = source | standing._asdict() | {"image": verdict.image}
    lastword.renew(connection, old.id if old else None, same.id, values, archive.clock.now())
    return set() if standing.settled else {same.study, old.study if old else same.study}


def _store(
    archive: Archive,
    connection: sqlite3.Connection,
    arrival: Arrival,
    verdict: _Verdict,
    *,
    returned: bool,
    late: bool,
) -> set[str]:
    """Insert the row of a file whose content is not held; return the studies that are to be converted."""
    name, header, origin, _ = arrival
    old = verdict.current
    references = referred(header.dataset)
    standing = _standing(archive, header, origin, references)
    if returned:
        standing = _Standing(int(NO_VIEW), 1, OWN_REASON if verdict.own else "returned with other content")
    elif late and old is not None:
        standing = _Standing(int(NO_VIEW), 1, f"superseded by {old.name}")
    elif old is not None:
        retire(connection, old.id, f"superseded by {name}")
    place = find_place(connection, header.study, header.series, archive.clock.now(), said_by(header.dataset))
    row = _source(arrival) | {
        "sop_instance": header.sop_instance,
        "sop_class": header.sop_class,
        "name": name,
        "kind": "received",
        "transfer_syntax": header.transfer_syntax,
        "length": header.size - header.dataset_offset,
        "dataset_offset": header.dataset_offset,
        "digest": bytes.fromhex(digest_of_name(name)),
        "pixel_digest": verdict.parts and verdict.parts.pixels,
        "head_digest": verdict.parts and verdict.parts.head,
        "superseded": -1 if returned or late else 0,
        "image": 0 if returned else verdict.image,
        **standing._asdict(),
    }
    instance = insert_instance(connection, place, row, describe_instance(header.dataset))
    insert_references(connection, instance, references)
    if returned:
        supersede(connection, instance, standing.reason)
    elif late and old is not None:
        retire(connection, instance, standing.reason)
        return _reopened(connection, header, old) if verdict.image != old.image else set()
    return set() if standing.settled else {header.study, old.study if old else header.study}


def _reopened(connection: sqlite3.Connection, header: Header, old: InstanceRow) -> set[str]:
    """Have it decided anew about the current version, which has turned out to be one of several images."""
    if old.prior:
        return set()
    connection.execute("UPDATE instance SET settled = 0 WHERE id = ?", (old.id,))
    return {header.study, old.study}


def _overtaken(connection: sqlite3.Connection, current: InstanceRow, at: float) -> bool:
    """Tell whether the current version came after an object that another process is only now registering."""
    (came,) = connection.execute("SELECT received_at FROM instance WHERE id = ?", (current.id,)).fetchone()
    return 0 < came - at < _LONGEST_OVERTAKEN


def _conclude(archive: Archive, arrival: Arrival, verdict: _Verdict, kind: str) -> Admission:
    """Remove the file if its content is held, and say what happened."""
    name, header, origin, _ = arrival
    archive.damage.came_again(digest_of_name(name))
    fields: dict[str, Any] = {"instance": header.sop_instance, "study": header.study, "peer": origin.peer}
    if verdict.equal:
        fault("admit.before_remove")
        archive.files.remove(name)
        event(f"intake.{kind}", held=verdict.equal, **fields)
        return Admission(kind, verdict.equal, header.study)
    if kind == "own":
        warning("intake.own_changed", stored=name, remedy="ask the destination why it alters objects", **fields)
    elif kind == "version" and verdict.current is not None:
        warning("intake.version", held=verdict.current.name, stored=name, **fields)
    elif kind == "other":  # a warning is given once for all of a study, when it is converted
        event("intake.other_image", stored=name, images=verdict.image + 1, **fields)
    return Admission(kind, name, header.study)
