"""What of a study is for a destination: nothing that it has sent itself, nothing undecided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.archive import collisions
from gateway.archive.rows import InstanceRow
from gateway.archive.views import View

if TYPE_CHECKING:
    from gateway.archive.index import Archive


def due(archive: Archive, destination: str, study: str, view: View, *, fetches: bool = False) -> list[InstanceRow]:
    """Return what of a view of a study is for a destination, which is sent it or fetches it."""
    if fetches:
        rows = collisions.to_fetch(archive, destination, study, view)
    else:
        rows = collisions.to_deliver(archive, study, view)
    return [row for row in rows if row.settled and not row.prior and row.peer != destination]
