"""What else a conversion has to look at: settled instances that refer, from any study, to what is decided about now.

Their references change with it, so that they get rewritten copies, or others than they had; a converted image cannot
follow any more, and keeps what it refers to as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from gateway.archive.index import Archive
from gateway.archive.rows import RECEIVED, InstanceRow
from gateway.archive.views import View
from gateway.conversion.held import CLASSIC, ENHANCED, Guise
from gateway.standard.sop_classes import ENHANCED_CLASSES

# Studies whose instances are not decided about and are referred to by those of another that are not either.
_AWAITED = """SELECT DISTINCT target_study.uid FROM study
    JOIN series ON series.study = study.id JOIN instance ON instance.series = series.id
    JOIN reference ON reference.from_instance = instance.id
    JOIN instance target ON target.sop_instance = reference.sop_instance
    JOIN series target_series ON target_series.id = target.series
    JOIN study target_study ON target_study.id = target_series.study
    WHERE study.uid = ? AND instance.settled = 0 AND target.settled = 0 AND target_study.id <> study.id
    ORDER BY target_study.uid"""


@dataclass
class Dependants:
    """Settled instances that a conversion has to look at.

    Attributes
    ----------
    rows : list of InstanceRow
        Instances whose references may have to be rewritten.
    views : dict of str to frozenset of str
        By archive name, the views each would be in if it needed no copy.
    fixed : dict of str to str
        SOP Instance and Series Instance UIDs that a converted image refers to, with its name.
    """

    rows: list[InstanceRow] = field(default_factory=list)
    views: dict[str, frozenset[str]] = field(default_factory=dict)
    fixed: dict[str, str] = field(default_factory=dict)


def find(
    archive: Archive, study: str, rows: Sequence[InstanceRow], withdrawn: Collection[str], freed: Collection[str]
) -> Dependants:
    """Return what refers, directly or through others, to instances that are decided about.

    Parameters
    ----------
    archive : Archive
        Knows who refers to whom.
    study : str
        Study Instance UID.
    rows : sequence of InstanceRow
        What is decided about.
    withdrawn : collection of str
        SOP Instance UIDs of derived objects that are withdrawn.
    freed : collection of str
        SOP Instance UIDs of their sources.
    """
    found = Dependants()
    seen = {row.name for row in rows}
    pending = sorted({uid for row in rows for uid in (row.sop_instance, row.series)})
    held = [row for row in archive.study_sources(study) if row.settled and row.name not in seen]
    # Whose sources may be among what is decided about: then it is their twin.
    _take(archive, [row for row in held if row.sop_class in ENHANCED_CLASSES], found, seen, withdrawn)
    while pending:
        referring = [(uid, row) for uid, row in archive.references_to(pending) if row.kind == RECEIVED and row.settled]
        made = archive.converted([row.sop_instance for _, row in referring if row.name not in seen])
        converted = {uid for uid, derived in made.items() if derived not in withdrawn}
        for uid, row in referring:
            if row.sop_instance in converted and uid not in freed:
                found.fixed.setdefault(uid, row.sop_instance)
        fresh = list({row.name: row for _, row in referring if row.name not in seen}.values())
        fresh = [row for row in fresh if row.sop_instance not in converted]
        _take(archive, fresh, found, seen, withdrawn)
        pending = sorted({uid for row in fresh for uid in (row.sop_instance, row.series)})
    return found


def _take(
    archive: Archive, rows: Sequence[InstanceRow], found: Dependants, seen: set[str], withdrawn: Collection[str]
) -> None:
    """Take in settled instances together with the views their copies have taken them out of."""
    copied: dict[str, set[str]] = {}
    for guise in guises(archive, [row.sop_instance for row in rows], withdrawn):
        if guise.copy:
            copied.setdefault(guise.sources[0].sop_instance, set()).update(guise.views)
    for row in rows:
        seen.add(row.name)
        found.rows.append(row)
        own = {name for name, bit in ((CLASSIC, View.CLASSIC), (ENHANCED, View.ENHANCED)) if row.views & bit}
        found.views[row.name] = frozenset(own | copied.get(row.sop_instance, set()))


def guises(archive: Archive, uids: Sequence[str], withdrawn: Collection[str]) -> list[Guise]:
    """Return what stands for what, objects that are about to be withdrawn in no view any more."""
    return [
        guise._replace(views=frozenset()) if guise.target.sop_instance in withdrawn else guise
        for guise in archive.guises(uids)
    ]


def awaited(archive: Archive, study: str) -> list[str]:
    """Return other studies that are to be settled first, as instances of this one refer to theirs.

    Of two studies that wait for each other the one with the lower UID goes first.
    """
    return [
        other
        for (other,) in archive.database.rows(_AWAITED, (study,))
        if other < study or (study,) not in archive.database.rows(_AWAITED, (other,))
    ]
