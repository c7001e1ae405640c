"""Order after a crash, and the step that takes acknowledged objects out of the intake folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.archive import backfill, intact, lastword, partitions
from gateway.archive.admission import Arrival, Origin, place
from gateway.archive.damage import QUARANTINED
from gateway.archive.durable import sync_folder
from gateway.archive.succession import RESTORED
from gateway.errors import ArchiveError, ObjectError, ResourceError
from gateway.objects.checked import OTHER_BYTES
from gateway.objects.elements import text
from gateway.objects.part10 import Header, check_identity, read_header
from gateway.observe import event, fault, warning

if TYPE_CHECKING:
    from gateway.archive.index import Archive

# Of an acknowledged object that the index does not take.
REMEDY = "its file in intake/ is safe; it is tried again every few minutes and at each start, see `gateway doctor`"

# Files moved at a time: bounds what is held in memory and how long other work waits.
_BATCH = 2000


@dataclass
class RecoveryReport:
    """What was found after a crash.

    Attributes
    ----------
    swept : int
        Half-written files removed; nobody was told that they are safe.
    indexed, duplicates : int
        Acknowledged files that the index did not know; of them those whose content is held already.
    quarantined : list of str
        Files that cannot be understood, now in ``quarantine/``.
    refused : list of str
        Acknowledged files that the index does not take; they stay in the intake folder for the next recovery.
    missing : list of str
        Archive names of objects waiting for conversion whose file is gone.
    records : int
        Records of conversions and of storage commitment, asked by whom it may be, that the index had lost.
    words : int
        Versions that had come again and that the index did not know as the current ones.
    returned : int
        Settled files that an older copy of the index did not know, in the intake folder again.
    """

    swept: int = 0
    indexed: int = 0
    duplicates: int = 0
    quarantined: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    records: int = 0
    words: int = 0
    returned: int = 0


def recover(archive: Archive, policy: Callable[[str], tuple[bool, bool]]) -> RecoveryReport:
    """Remove leftovers, index what is acknowledged and unknown, apply records that the index has lost."""
    report = RecoveryReport(swept=archive.files.sweep())
    older = archive.files.root / RESTORED
    if older.exists():
        report.returned = _take_back(archive)
    for name in unregistered(archive):
        take_in(archive, name, policy, report)
    report.words = lastword.replay(archive)  # before what conversions have decided about these versions
    report.records = partitions.replay(archive) + archive.commitments.replay() + archive.promises.replay()
    sql = "SELECT name FROM instance WHERE settled = 0 AND kind = 'received'"
    for (name,) in archive.database.rows(sql):
        try:
            archive.files.locate(name)
        except ArchiveError:
            report.missing.append(name)
    # Only now: after a power cut all of it is done again.
    if older.exists():
        older.unlink(missing_ok=True)
        sync_folder(older.parent)
    if report.missing:
        first = report.missing[0]
        warning("recovery.missing", files=len(report.missing), first=first, remedy="have the studies sent again")
    if report != RecoveryReport():
        counts = {key: value if isinstance(value, int) else len(value) for key, value in vars(report).items()}
        event("recovery.done", **{key: value for key, value in counts.items() if value})
    return report


def unregistered(archive: Archive) -> list[str]:
    """Return the names of the acknowledged files that the index does not know (yet, or any more), the oldest first.

    Of two versions that were received within a moment the later one is to be the current one.
    """
    names = archive.files.waiting()
    return sorted(set(names) - _known(archive, names), key=lambda name: (archive.files.received_at(name), name))


def take_in(archive: Archive, name: str, policy: Callable[[str], tuple[bool, bool]], report: RecoveryReport) -> None:
    """Have the index know an acknowledged file that it does not know, unless a living process is about to.

    Raises
    ------
    ResourceError
        If the index takes nothing at all.
    """
    try:
        with archive.files.claimed(archive.files.intake_path(name)) as ours:
            if ours:
                _take_in(archive, name, policy, report)
    except OSError as error:  # a bad block under one file keeps no other out
        _refused(name, "", error, report)


def _take_in(archive: Archive, name: str, policy: Callable[[str], tuple[bool, bool]], report: RecoveryReport) -> None:
    path = archive.files.intake_path(name)
    try:
        header = read_header(path)
        check_identity(header)
    except OSError:
        if path.exists():
            raise
        # Registered meanwhile, and moved.
    except ObjectError as error:
        _set_aside(archive, path, report, str(error))
    except Exception as error:  # a fault of ours in reading one keeps no other out
        _refused(name, "", error, report)
    else:
        if intact.is_named_by_its_digest(path, name, header):
            _place(archive, name, header, policy, report)
        else:
            _set_aside(archive, path, report, f"{header.sop_instance}: {OTHER_BYTES}")


def _place(
    archive: Archive,
    name: str,
    header: Header,
    policy: Callable[[str], tuple[bool, bool]],
    report: RecoveryReport,
) -> None:
    peer = text(header.meta, intact.SOURCE_AE_TITLE)
    # The time at which it was received decides which of several versions is the latest.
    at = archive.files.received_at(name) / 1e9 or archive.clock.now()
    arrival = Arrival(name, header, Origin(peer, "", *policy(peer)), at)
    try:
        (admission,) = place(archive, arrival)
    except ResourceError:
        raise
    except Exception as error:  # one object that the index does not take is no reason for the box to stand still
        _refused(name, header.sop_instance, error, report)
        return
    report.indexed += 1
    report.duplicates += admission.name != name


def _set_aside(archive: Archive, path: Path, report: RecoveryReport, reason: str) -> None:
    """Move an acknowledged file that cannot be taken in out of the way, and tell."""
    if archive.files.set_aside(path):
        report.quarantined.append(path.name)
        warning("recovery.unreadable", file=path.name, reason=reason, remedy="look at it in quarantine/")
        archive.damage.note(path.stem, QUARANTINED, reason)


def _refused(name: str, instance: str, error: Exception, report: RecoveryReport) -> None:
    report.refused.append(name)
    event(
        "recovery.refused",
        logging.ERROR,
        file=f"{name}.dcm",
        instance=instance or None,
        reason=error,
        remedy=REMEDY,
    )


def _take_back(archive: Archive) -> int:
    """Move the settled files that the index does not know back to the intake folder and return their number.

    An older copy of the index has been put in its place: what came since is indexed as after a power cut.
    """
    returned = 0
    for names in archive.files.settled():
        returned += archive.files.unsettle(sorted(set(names) - _known(archive, names)))
    return returned


def _known(archive: Archive, names: list[str]) -> set[str]:
    sql = "SELECT name FROM instance WHERE name IN (SELECT value FROM json_each(?))"
    return {name for (name,) in archive.database.rows(sql, (json.dumps(names),))}


def checkpoint(archive: Archive) -> int:
    """Move the intake files that a durable index knows to their final place, and fill some of what an old one lacks.

    A passive checkpoint waits for nobody. When it has got all frames of the log into the database file, which it syncs,
    everything committed before it began would survive a power cut.
    """
    backfill.step(archive)
    moved = 0
    names = archive.files.waiting()
    for start in range(0, len(names), _BATCH):
        covered = _known(archive, names[start : start + _BATCH])
        busy, log, done = archive.database.row("PRAGMA wal_checkpoint(PASSIVE)") or (1, 0, 0)
        if busy or log != done:
            break
        fault("checkpoint.before_move")
        moved += archive.files.settle(sorted(covered))
    return moved
