"""Which objects stand for which in which view, from the UID map, that is never forgotten (REQUIREMENTS G22)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from gateway.archive.views import View
from gateway.conversion.held import CLASSIC, ENHANCED, Guise
from gateway.conversion.references import Target
from gateway.standard.sop_classes import CONVERSIONS

if TYPE_CHECKING:
    from gateway.archive.index import Archive

# Of objects made here, and of received enhanced ones: name, class, series, study, whether it is a copy, views.
_MADE = """SELECT d.sop_instance, d.sop_class, d.series, d.study, d.kind = 'copy',
        (SELECT i.views FROM instance i WHERE i.sop_instance = d.sop_instance AND i.kind = 'derived')
    FROM derived d WHERE d.kind IN ('image', 'copy') AND (d.sop_instance IN (SELECT value FROM json_each(?1))
        OR d.id IN (SELECT derived FROM uid_map WHERE source IN (SELECT value FROM json_each(?1))))
    ORDER BY d.id DESC"""
_RECEIVED = """SELECT i.sop_instance, i.sop_class, s.uid, t.uid, 0, i.views
    FROM instance i JOIN series s ON s.id = i.series JOIN study t ON t.id = s.study
    WHERE i.superseded = 0 AND i.sop_instance IN (SELECT sop_instance FROM twin
        WHERE sop_instance IN (SELECT value FROM json_each(?1)) OR source IN (SELECT value FROM json_each(?1)))
    ORDER BY i.id"""

_SOURCES = """SELECT d.sop_instance, m.source FROM derived d JOIN uid_map m ON m.derived = d.id
    WHERE d.sop_instance IN (SELECT value FROM json_each(?)) ORDER BY d.id, m.frame"""
_TWIN_SOURCES = """SELECT sop_instance, source FROM twin
    WHERE sop_instance IN (SELECT value FROM json_each(?)) ORDER BY sop_instance, frame"""

_PLACES = """SELECT i.sop_instance, i.sop_class, s.uid, t.uid
    FROM instance i JOIN series s ON s.id = i.series JOIN study t ON t.id = s.study
    WHERE i.superseded = 0 AND i.sop_instance IN (SELECT value FROM json_each(?))"""

_MEMBERS = """SELECT s.uid, i.sop_instance FROM series s JOIN instance i ON i.series = s.id
    WHERE i.superseded = 0 AND s.uid IN (SELECT value FROM json_each(?)) ORDER BY s.uid, i.sop_instance"""

_CONVERTED = """SELECT m.source, d.sop_instance FROM uid_map m JOIN derived d ON d.id = m.derived
    JOIN instance i ON i.sop_instance = d.sop_instance AND i.kind = 'derived'
    WHERE d.kind = 'image' AND m.source IN (SELECT value FROM json_each(?)) AND i.views & ?"""

_CLASSIC_OF = {sop_class: row.classic for row in CONVERSIONS.values() for sop_class in (row.enhanced, row.legacy)}


def of(archive: Archive, sop_instances: Sequence[str]) -> list[Guise]:
    """Return objects that stand for others, of some UIDs: those that have one of them or stand for one.

    An object whose pixel data have expired still stands for its sources; one that was withdrawn is in no view.
    """
    wanted = json.dumps(list(sop_instances))
    found = []
    for sql, sources in ((_MADE, _SOURCES), (_RECEIVED, _TWIN_SOURCES)):
        rows = archive.database.rows(sql, (wanted,))
        frames = _grouped(archive.database.rows(sources, (json.dumps([row[0] for row in rows]),)))
        places = _places(archive, {uid for uids in frames.values() for uid in uids})
        for uid, sop_class, series, study, copy, views in rows:
            made_of = frames.get(uid, [])
            target = Target(sop_class, uid, series, study, 0, 0 if copy else len(made_of))
            missing = [source for source in made_of if source not in places]
            known = places | dict(_forgotten(archive, target, missing))
            guise = Guise(target, _views(views), tuple(known[source] for source in made_of), copy=bool(copy))
            found.append(guise)
    return found


def _views(bits: int | None) -> frozenset[str]:
    if bits is None:
        return frozenset((ENHANCED,))
    return frozenset(name for name, bit in ((CLASSIC, View.CLASSIC), (ENHANCED, View.ENHANCED)) if bits & bit)


def _grouped(rows: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for uid, source in rows:
        found[uid].append(source)
    return found


def _places(archive: Archive, uids: set[str]) -> dict[str, Target]:
    """Return class, series and study of instances that are held."""
    return {
        uid: Target(sop_class, uid, series, study)
        for uid, sop_class, series, study in archive.database.rows(_PLACES, (json.dumps(sorted(uids)),))
    }


def _forgotten(archive: Archive, made: Target, missing: Sequence[str]) -> Iterator[tuple[str, Target]]:
    """Yield what the durable record of an object says of sources that are not held any more."""
    if not missing:
        return
    records = [one for record in archive.partitions(made.study) for one in record["objects"]]
    series = next((one["source_series"] for one in records if one["sop_instance"] == made.sop_instance), "")
    for uid in missing:
        yield uid, Target(_CLASSIC_OF.get(made.sop_class, made.sop_class), uid, series, made.study)


def converted(archive: Archive, uids: Sequence[str]) -> dict[str, str]:
    """Return which of some instances are frames of an object that was made of them, with that object's name."""
    return dict(archive.database.rows(_CONVERTED, (json.dumps(list(uids)), int(View.ENHANCED))))


def members(archive: Archive, series: Sequence[str]) -> dict[str, list[str]]:
    """Return the SOP Instance UIDs of what is held of some series."""
    return dict(_grouped(archive.database.rows(_MEMBERS, (json.dumps(list(series)),))))
