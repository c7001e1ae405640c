"""What one conversion has before it, and how everything that it looked at is settled afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.archive.index import Archive
from gateway.archive.rows import InstanceRow, Settlement
from gateway.archive.views import ALL_VIEWS, View, view_named
from gateway.conversion.planned import Frozen
from gateway.conversion.study import StudyConversion, frozen_from
from gateway.pipeline.correction import reopened
from gateway.pipeline.dependants import Dependants, find


@dataclass
class Work:
    """The instances of a conversion and what is known about them.

    Attributes
    ----------
    frozen : list of Frozen
        The derived objects of the study.
    instances : dict of str to str
        SOP Instance UID of what is decided about, by archive name.
    withdrawn : tuple of str
        SOP Instance UIDs of derived objects that corrections have made obsolete.
    dependants : Dependants
        What refers to any of it.
    priors : dict of str to str
        Archive name and reason of what came from a destination: it is never converted.
    """

    frozen: list[Frozen]
    instances: dict[str, str]
    withdrawn: tuple[str, ...]
    dependants: Dependants
    priors: dict[str, str] = field(default_factory=dict)
    _rows: list[InstanceRow] = field(default_factory=list)

    def sources(self) -> Iterator[InstanceRow]:
        """Yield the rows of what is decided about, once: of a long series they are a large part of all memory."""
        rows, self._rows = iter(self._rows), []
        return rows

    def every(self) -> list[InstanceRow]:
        """Return all that the conversion reads: what is decided about and what refers to it."""
        return [*self._rows, *self.dependants.rows]

    def settlements(self, result: StudyConversion) -> dict[str, Settlement]:
        """Return views and reason of every received instance, by archive name."""
        found = {
            name: Settlement(views_of(result, name), self.priors.get(name) or result.kept.get(name, ""))
            for name in self.instances
        }
        for row in self.dependants.rows:
            if row.name in result.views:
                found[row.name] = Settlement(views_of(result, row.name), row.reason)
        return found


def taken_in(archive: Archive, study: str, rows: Sequence[InstanceRow]) -> Work:
    """Return what there is to do about the unsettled instances of a study."""
    frozen, rows, withdrawn = reopened(archive, study, frozen_from(archive.partitions(study)), rows)
    freed = {uid for item in frozen if item.sop_instance in withdrawn for uid, _ in item.frames}
    dependants = find(archive, study, rows, withdrawn, freed)
    return Work(
        frozen,
        {row.name: row.sop_instance for row in rows},
        withdrawn,
        dependants,
        {row.name: row.reason for row in (*rows, *dependants.rows) if row.prior},
        list(rows),
    )


def views_of(result: StudyConversion, name: str) -> View:
    """Return the views that a received instance is in after a conversion."""
    if name not in result.views:
        return ALL_VIEWS  # nobody could read it
    views = View.RECEIVED
    for view in result.views[name]:
        views |= view_named(view)
    return views
