"""An earlier version that has come again: it becomes the current one, and stays so when the index is lost (S6, T3).

Its bytes are held, and the file that has just come is removed. So nothing on the disk but a durable record of a few
lines, written before, says that it is the sender's last word. It holds against the versions that it names, and says
nothing about those that come later: so no clock is needed to know which word is the last.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

from gateway.archive.entities import retire
from gateway.archive.files import key_of
from gateway.archive.jobs import CONVERT
from gateway.archive.records import write_record
from gateway.archive.views import fresh_views
from gateway.errors import DamagedError

if TYPE_CHECKING:
    from gateway.archive.index import Archive

_AGAIN = """UPDATE instance SET writer = COALESCE(writer, peer), superseded = 0, retired = 0, views = :views,
    settled = :settled, reason = :reason, peer = :peer, called = :called, convert = :convert, prior = :prior,
    received_at = :received_at, image = :image WHERE id = :id"""
_UPDATED = """UPDATE study SET updated_at = ?
    WHERE id = (SELECT s.study FROM instance i JOIN series s ON s.id = i.series WHERE i.id = ?)"""


def record(archive: Archive, sop_instance: str, name: str, source: dict[str, Any]) -> None:
    """Note durably that a version is the last word, over all others that are held now.

    Parameters
    ----------
    archive : Archive
        Holds it.
    sop_instance, name : str
        SOP Instance UID and archive name.
    source : dict
        Columns that say where it came from this time.

    Raises
    ------
    ResourceError
        If it cannot be written; nothing may be changed then.
    """
    over = [row.name for row in archive.versions(sop_instance) if row.name != name]
    content = {"sop_instance": sop_instance, "current": name, "over": sorted(over), "source": source}
    write_record(archive.files.record_path(f"word-{key_of(sop_instance)}"), content)


def renew(connection: sqlite3.Connection, current: int | None, again: int, values: dict[str, Any], now: float) -> None:
    """Make a version current again, in the place of the one that is.

    Parameters
    ----------
    connection : sqlite3.Connection
        In a transaction.
    current, again : int
        Ids of the two; the first is None if none is current.
    values : dict
        Columns that say where it came from this time, and how it stands in the views.
    now : float
        The time.
    """
    if current is not None:
        retire(connection, current, "an earlier version has come again")
    connection.execute(_AGAIN, values | {"id": again})
    connection.execute(_UPDATED, (now, again))


def replay(archive: Archive) -> int:
    """Make current what the records say, where the index does not know it, and return in how many cases."""
    changed = 0
    for path in sorted(archive.files.records.glob("word-*.json")):
        with contextlib.suppress(DamagedError):  # it is noted, and both versions are held whatever it says
            changed += _apply(archive, archive.damage.record(path))
    return changed


def _apply(archive: Archive, content: dict[str, Any]) -> bool:
    with archive.database.transaction() as connection:
        held = archive.versions(content["sop_instance"])
        again = next((row for row in held if row.name == content["current"]), None)
        if again is None or not again.superseded:
            return False
        current = held[0] if not held[0].superseded else None
        if current is not None and current.name not in content["over"]:
            return False  # it came later
        standing = {"views": int(fresh_views(again.sop_class)), "settled": 0, "reason": "", "image": again.image}
        values = standing | content["source"]
        renew(connection, current.id if current else None, again.id, values, archive.clock.now())
        archive.jobs.schedule(CONVERT, again.study, not_before=archive.clock.now() + archive.quiet)
    return True
