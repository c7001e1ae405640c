"""Corrected images: what has come again with other content after it was converted.

The objects that hold the old version are withdrawn from the enhanced view and made anew, under new UIDs, from the
current versions of their sources. A destination that has the old objects keeps them until somebody removes them there:
the log says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.archive import collisions
from gateway.archive.index import Archive
from gateway.archive.rows import RECEIVED, InstanceRow, Settlement
from gateway.archive.views import NO_VIEW
from gateway.conversion.classic import NEW
from gateway.conversion.held import ENHANCED
from gateway.conversion.outcome import frozen_from
from gateway.conversion.planned import Frozen
from gateway.conversion.presentation import PresentationState
from gateway.observe import warning
from gateway.standard.sop_classes import CLASSIC_MODALITIES, ENHANCED_CLASSES

# UIDs of which a version was in a study, and the current one is in another.
_MOVED = """SELECT DISTINCT i.sop_instance
    FROM study t JOIN series s ON s.study = t.id JOIN instance o ON o.series = s.id
    JOIN instance i ON i.sop_instance = o.sop_instance AND i.superseded = 0 JOIN series m ON m.id = i.series
    WHERE t.uid = ? AND o.superseded <> 0 AND o.kind = 'received' AND m.study <> t.id"""


def moved(archive: Archive, study: str) -> set[str]:
    """Return the SOP Instance UIDs that a sender has moved from a study to another one.

    Where several images came under a UID, what was made of one of them stays as it is.
    """
    found = {uid for (uid,) in archive.database.rows(_MOVED, (study,))}
    return found - collisions.images(archive, found).keys() if found else found


def left_behind(archive: Archive, study: str) -> list[Frozen]:
    """Return the objects of a study that have frames of images that are in another study now."""
    gone = moved(archive, study)
    frozen = frozen_from(archive.partitions(study)) if gone else []
    return [one for one in frozen if not one.withdrawn and any(uid in gone for uid, _ in one.frames)]


def withdrawn_objects(
    archive: Archive, frozen: Sequence[Frozen], rows: Sequence[InstanceRow], left: Sequence[Frozen] = ()
) -> set[str]:
    """Return the SOP Instance UIDs of derived objects that new versions of their sources make obsolete.

    Objects that refer to such a one are made anew with it: their references would point at what is gone.

    Parameters
    ----------
    archive : Archive
        Knows who refers to whom.
    frozen : sequence of Frozen
        The derived objects of the study.
    rows : sequence of InstanceRow
        What nothing was decided about yet.
    left : sequence of Frozen
        Objects with frames of images that are in another study now.
    """
    owners = {uid: item for item in frozen if not item.withdrawn for uid, _ in item.frames}
    digests = {(uid, digest) for item in owners.values() for uid, digest in item.frames}
    found: dict[str, Frozen] = {}
    pending = _moving(archive, [row for row in rows if row.sop_instance not in owners])
    for row in rows:
        if row.sop_instance in owners and (row.sop_instance, row.digest) not in digests:
            pending += _withdrawn(owners[row.sop_instance], found)
    for item in left:
        pending += _withdrawn(item, found)
    seen = set(pending)
    while pending:
        reached: list[str] = []
        for _, row in archive.references_to(pending):
            # What is no frame gets another copy, and whoever refers to it follows.
            owner = owners.get(row.sop_instance)
            if row.kind == RECEIVED:
                reached += _withdrawn(owner, found) if owner else [row.sop_instance]
        pending = [uid for uid in dict.fromkeys(reached) if uid not in seen]
        seen.update(pending)
    return set(found)


def _moving(archive: Archive, rows: Sequence[InstanceRow]) -> list[str]:
    """Return what has come that will get a rewritten copy; images that know it already must follow that copy."""
    found = []
    for row in rows:
        if row.sop_class not in CLASSIC_MODALITIES:
            uids = archive.references_of(row)
            guises = [guise for guise in archive.guises(uids) if ENHANCED in guise.views]
            if any(source.sop_instance in uids for guise in guises for source in guise.sources):
                found.append(row.sop_instance)
    return found


def _withdrawn(item: Frozen, found: dict[str, Frozen]) -> list[str]:
    """Withdraw an object and return what its frames were made of."""
    if item.sop_instance in found:
        return []
    found[item.sop_instance] = item
    return [uid for uid, _ in item.frames]


def reopened(
    archive: Archive, study: str, frozen: Sequence[Frozen], rows: Sequence[InstanceRow]
) -> tuple[list[Frozen], list[InstanceRow], tuple[str, ...]]:
    """Return what is frozen, what is to be decided about, and what is withdrawn, once corrections are taken in."""
    gone = withdrawn_objects(archive, frozen, rows, left_behind(archive, study))
    images = _classic_images(archive, study, rows)
    if not gone:
        return list(frozen), list(rows), tuple(sorted(images))
    undecided = {row.name for row in rows}
    freed = {uid for item in frozen if item.sop_instance in gone for uid, _ in item.frames}
    again = [row for row in archive.study_sources(study) if row.sop_instance in freed and row.name not in undecided]
    kept = [replace(item, withdrawn=True) if item.sop_instance in gone else item for item in frozen]
    return (
        kept,
        [*rows, *again],
        tuple(sorted(gone | images | _states(archive, study, [item for item in frozen if item.sop_instance in gone]))),
    )


def _states(archive: Archive, study: str, withdrawn: Sequence[Frozen]) -> set[str]:
    """Return the SOP Instance UIDs of the presentation states that were made for withdrawn objects."""
    return {
        made["sop_instance"]
        for record in archive.partitions(study)
        for made in record.get("companions", ())
        if made["kind"] == PresentationState.kind
        and any({(uid, digest) for uid, digest in made["sources"]} <= set(item.frames) for item in withdrawn)
    }


def _classic_images(archive: Archive, study: str, rows: Sequence[InstanceRow]) -> set[str]:
    """Return the SOP Instance UIDs of classic images of enhanced objects that have come again with other content.

    One under its original's UID stays: the same UID cannot be given to another image.
    """
    digests = {row.sop_instance: row.digest for row in rows if row.sop_class in ENHANCED_CLASSES}
    if not digests:
        return set()
    return {
        made["sop_instance"]
        for record in archive.partitions(study)
        for made in record.get("companions", ())
        if made["kind"] == NEW and any(uid in digests and digests[uid] != digest for uid, digest in made["sources"])
    }


def withdrawals(archive: Archive, study: str, withdrawn: Sequence[str]) -> dict[str, Settlement]:
    """Return how withdrawn objects are settled: in no view; and tell whoever reads the log."""
    found = {}
    for uid in withdrawn:
        row = archive.instance(uid)
        if row is not None:
            found[row.name] = Settlement(NO_VIEW, "obsolete: what it was made of, or refers to, is another now")
        warning(
            "convert.withdrawn",
            study=study,
            instance=uid,
            reason="what it was made of, or refers to, is another now; it is made anew under another UID",
            remedy="remove it at the destinations that have it",
        )
    return found
