"""Which objects carry an instance in a view: itself, what was made of it, what it was made of, its twin."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from gateway.archive.rows import InstanceRow
from gateway.archive.views import View

if TYPE_CHECKING:
    from gateway.archive.index import Archive

# UID and digest of an instance, and the UID of an object with the same content in another form.
_MADE_OF_IT = """SELECT m.source, lower(hex(m.digest)), d.sop_instance
    FROM uid_map m JOIN derived d ON d.id = m.derived WHERE m.source IN (SELECT value FROM json_each(?))"""
_ITS_SOURCES = """SELECT d.sop_instance, lower(hex(d.digest)), m.source
    FROM derived d JOIN uid_map m ON m.derived = d.id WHERE d.sop_instance IN (SELECT value FROM json_each(?))"""
# A twin was compared when it came; it stands for whatever is held of its sources.
_TWINS = """SELECT source, '', sop_instance FROM twin WHERE source IN (SELECT value FROM json_each(?1))
    UNION ALL SELECT sop_instance, '', source FROM twin WHERE sop_instance IN (SELECT value FROM json_each(?1))"""


class Carriers:
    """What carries some instances.

    Parameters
    ----------
    archive : Archive
        The archive.
    rows : collection of InstanceRow
        The instances.
    """

    def __init__(self, archive: Archive, rows: Collection[InstanceRow]) -> None:
        digests = {row.sop_instance: row.digest for row in rows}
        uids = json.dumps(list(digests))
        self._related: dict[str, set[str]] = {}
        for sql in (_MADE_OF_IT, _ITS_SOURCES, _TWINS):
            for uid, digest, other in archive.database.rows(sql, (uids,)):
                if not digest or digest == digests[uid]:
                    self._related.setdefault(uid, set()).add(other)
        others = {other for found in self._related.values() for other in found}
        self._rows = {row.sop_instance: row for row in archive.instances(sorted(others))}

    def of(self, row: InstanceRow, view: View) -> list[InstanceRow]:
        """Return what carries one of the instances in a view, none if nothing does."""
        if row.views & view:
            return [row]
        found: Iterable[InstanceRow | None] = map(self._rows.get, sorted(self._related.get(row.sop_instance, ())))
        return [other for other in found if other is not None and other.views & view]
