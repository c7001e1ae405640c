"""What of a study can be converted because all of it is what was received; the series of what is not is held, whole.

A slice that is left out, or believed with other bytes, makes an object that looks right and is not. So every byte that
decides something is compared with its digest before anything is decided: of the instances to be converted, of older
ones that they take up again, and of those whose references follow them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.archive import intact
from gateway.archive.index import Archive
from gateway.archive.rows import InstanceRow
from gateway.pipeline.work import Work, taken_in


@dataclass
class Sound:
    """The part of a study that can be converted.

    Attributes
    ----------
    work : Work or None
        What there is to do; None if nothing of the study is sound.
    held : dict of str to str
        Why a series is held, by Series Instance UID.
    instances : int
        How many instances are held with them.
    """

    work: Work | None
    held: dict[str, str] = field(default_factory=dict)
    instances: int = 0

    @property
    def reason(self) -> str:
        """Why something of the study is held, in plain words; empty if nothing is."""
        if not self.held:
            return ""
        (uid, why), more = next(iter(self.held.items())), len(self.held) - 1
        others = f"; so are {more} more series" if more > 1 else "; so is 1 more series" if more else ""
        return f"series {uid} is held whole: {why}{others}"


def sound(archive: Archive, study: str, rows: Sequence[InstanceRow], watch: Callable[[], None]) -> Sound:
    """Read all that a conversion is going to believe and return what of it can go on.

    Parameters
    ----------
    archive : Archive
        Holds it.
    study : str
        Study Instance UID.
    rows : sequence of InstanceRow
        The instances that nothing has been decided about.
    watch : callable
        Called again and again; what it raises comes through.
    """
    looked: dict[str, str] = {}

    def problem(row: InstanceRow) -> str:
        if row.name not in looked:
            looked[row.name] = intact.problem_of(archive, row, watch)
        return looked[row.name]

    held: dict[str, str] = {}
    for row in rows:
        if why := problem(row):
            held.setdefault(row.series, why)
    while True:
        _with_what_refers(archive, rows, held)
        left = [row for row in rows if row.series not in held]
        work = taken_in(archive, study, left) if left or not held else None
        wrong = [row for row in work.every() if problem(row)] if work else []
        if not wrong:
            return Sound(work, held, len(rows) - len(left))
        for row in wrong:
            held.update(dict.fromkeys(_concerned(archive, row, left), problem(row)))


def _with_what_refers(archive: Archive, rows: Sequence[InstanceRow], held: dict[str, str]) -> None:
    """Hold what refers to images that are held, too: what becomes of those is not known."""
    while held:
        targets = [uid for row in rows if row.series in held for uid in (row.sop_instance, row.series)]
        names = {row.name for row in rows if row.series not in held}
        referring = [row for _, row in archive.references_to(sorted(set(targets))) if row.name in names]
        if not referring:
            return
        for row in referring:
            held.setdefault(row.series, "it refers to images that are held")


def _concerned(archive: Archive, wrong: InstanceRow, rows: Sequence[InstanceRow]) -> set[str]:
    """Return the series that must wait because of an older instance that is damaged."""
    referred = set(archive.references_of(wrong))
    found = {
        row.series
        for row in rows
        if row.series in (wrong.series, *(referred & {row.series})) or row.sop_instance in referred
    }
    return found or {row.series for row in rows}
