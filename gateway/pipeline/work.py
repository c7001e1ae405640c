"""What one conversion has before it, and how everything that it looked at is settled afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.archive import collisions
from gateway.archive.collisions import Collision
from gateway.archive.index import Archive
from gateway.archive.rows import InstanceRow, Settlement
from gateway.archive.senders import differing
from gateway.archive.views import ALL_VIEWS, View, view_named
from gateway.conversion.outcome import StudyConversion, frozen_from
from gateway.conversion.planned import Frozen
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
    apart : dict of str to Settlement
        How instances are settled, by archive name, that the conversion does not see: one of several images that came
        under one SOP Instance UID.
    several : list of Collision
        Those UIDs, of which something was undecided.
    parted : dict of str to list of str
        Series whose images must not share an object if they came from different senders, with these.
    """

    frozen: list[Frozen]
    instances: dict[str, str]
    withdrawn: tuple[str, ...]
    dependants: Dependants
    priors: dict[str, str] = field(default_factory=dict)
    apart: dict[str, Settlement] = field(default_factory=dict)
    several: list[Collision] = field(default_factory=list)
    parted: dict[str, list[str]] = field(default_factory=dict)
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
        return found | self.apart


def taken_in(archive: Archive, study: str, rows: Sequence[InstanceRow]) -> Work:
    """Return what there is to do about the unsettled instances of a study."""
    several = collisions.of_study(archive, study)
    fresh = [several[uid] for uid in sorted({row.sop_instance for row in rows} & several.keys())]
    frozen = frozen_from(archive.partitions(study))
    held = _compared(several, frozen, rows)
    frozen, again, withdrawn = reopened(archive, study, frozen, held)
    rows = [row for row in again if row.sop_instance not in several]
    apart = _apart(several, frozen, study)
    freed = {uid for item in frozen if item.sop_instance in withdrawn for uid, _ in item.frames}
    dependants = find(archive, study, [*rows, *apart], withdrawn, freed)
    return Work(
        frozen,
        {row.name: row.sop_instance for row in rows},
        withdrawn,
        dependants,
        {row.name: row.reason for row in (*rows, *dependants.rows) if row.prior},
        {row.name: settlement for row, settlement in apart.items()},
        fresh,
        differing(archive, study),
        list(rows),
    )


def _compared(
    several: Mapping[str, Collision], frozen: Sequence[Frozen], rows: Sequence[InstanceRow]
) -> list[InstanceRow]:
    """Return what is to be compared with the objects that exist: of several images under one UID the first.

    That another image came under the UID of a frame does not change the object; a corrected version of the frame does.
    """
    frames = {uid for item in frozen if not item.withdrawn for uid, _ in item.frames}
    firsts = [one.first for one in several.values() if one.sop_instance in frames]
    return [row for row in rows if row.sop_instance not in several] + firsts


def _apart(several: Mapping[str, Collision], frozen: Sequence[Frozen], study: str) -> dict[InstanceRow, Settlement]:
    """Return how the instances are settled that stand for several images: only what is a frame is in its object."""
    frames = {frame for item in frozen if not item.withdrawn for frame in item.frames}
    return {
        one.current: Settlement(View.RECEIVED | View.CLASSIC)
        if (one.sop_instance, one.current.digest) in frames
        else Settlement(ALL_VIEWS, one.reason)
        for one in several.values()
        if one.current.study == study and not one.current.superseded
    }


def views_of(result: StudyConversion, name: str) -> View:
    """Return the views that a received instance is in after a conversion."""
    if name not in result.views:
        return ALL_VIEWS  # nobody could read it
    views = View.RECEIVED
    for view in result.views[name]:
        views |= view_named(view)
    return views
