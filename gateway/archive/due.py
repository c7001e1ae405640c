"""What of a study is for a destination: nothing that it has sent itself, nothing undecided."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING

from gateway.archive import collisions
from gateway.archive.rows import DERIVED, InstanceRow
from gateway.archive.views import View

if TYPE_CHECKING:
    from gateway.archive.index import Archive

_MADE_OF = """SELECT d.sop_instance, min(s.uid) FROM derived d JOIN uid_map m ON m.derived = d.id
    JOIN instance i ON i.sop_instance = m.source AND i.kind = 'received' JOIN series s ON s.id = i.series
    WHERE d.sop_instance IN (SELECT value FROM json_each(?)) GROUP BY d.id"""


def due(archive: Archive, destination: str, study: str, view: View, *, fetches: bool = False) -> list[InstanceRow]:
    """Return what of a study is for a destination, each series in the form that was decided on.

    Parameters
    ----------
    archive : Archive
        Holds it.
    destination : str
        AE title.
    study : str
        Study Instance UID.
    view : View
        What it goes in as long as nothing has been decided.
    fetches : bool
        Whether the destination fetches, instead of being sent it.
    """
    decision = archive.custody.decision(study, destination)
    view = decision.view if decision else view
    if fetches:
        return _wanted(collisions.to_fetch(archive, destination, study, view), destination)
    if decision is None or not decision.exceptions:
        return _wanted(collisions.to_deliver(archive, study, view), destination)
    rows = both_forms(archive, destination, study)
    origin = origins(archive, rows)
    return [row for row in rows if row.views & decision.form_of(origin[row.sop_instance]).view]


def both_forms(archive: Archive, destination: str, study: str) -> list[InstanceRow]:
    """Return what of a study may be for a destination, in either form."""
    return _wanted(collisions.to_deliver(archive, study, View.CLASSIC | View.ENHANCED), destination)


def _wanted(rows: Collection[InstanceRow], destination: str) -> list[InstanceRow]:
    return [row for row in rows if row.settled and not row.prior and row.peer != destination]


def origins(archive: Archive, rows: Collection[InstanceRow]) -> dict[str, str]:
    """Return for each instance the received series that it is of, or is made of, by SOP Instance UID."""
    made = [row.sop_instance for row in rows if row.kind == DERIVED]
    found = dict(archive.database.rows(_MADE_OF, (json.dumps(made),))) if made else {}
    return {row.sop_instance: found.get(row.sop_instance, row.series) for row in rows}
