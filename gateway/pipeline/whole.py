"""Series go to a destination whole: all of what is to be sent of one is read before its first object goes out.

While an object is sent its bytes are compared anyway. But when the hundredth object of a series is found damaged, the
destination has 99 that look like a series. Derived objects stand beside what is left of the series they were made of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from gateway.archive import intact
from gateway.archive.index import Archive
from gateway.archive.rows import DERIVED, InstanceRow
from gateway.errors import DamagedError
from gateway.objects.stream import ByteSource

_SOURCE_SERIES = """SELECT DISTINCT s.uid FROM derived d JOIN uid_map m ON m.derived = d.id
    JOIN instance i ON i.sop_instance = m.source JOIN series s ON s.id = i.series WHERE d.sop_instance = ?"""


class WholeSeries:
    """Gives the bytes of instances to be sent, of no series of which anything is damaged.

    Parameters
    ----------
    archive : Archive
        Holds them.
    rows : sequence of InstanceRow
        All that is to be sent.
    watch : callable
        Called again and again while a series is read; what it raises comes through.
    """

    def __init__(self, archive: Archive, rows: Sequence[InstanceRow], watch: Callable[[], None]) -> None:
        self._archive = archive
        self._watch = watch
        self._groups = _grouped(archive, rows)
        self._looked: dict[str, str] = {}

    def source_of(self, row: InstanceRow, /) -> ByteSource:
        """Return the data set of `row`.

        Raises
        ------
        DamagedError
            If anything is damaged that is to be sent of its series.
        """
        group = self._groups[row.name]
        key = group[0].name
        if key not in self._looked:
            # One object alone is compared while it is sent.
            look = len(group) > 1 or self._archive.damage.marked(key)
            self._looked[key] = self._problem(group) if look else ""
        if self._looked[key]:
            raise DamagedError(f"series {row.series}", f"is held whole: {self._looked[key]}")
        return self._archive.source_of(row)

    def _problem(self, group: Sequence[InstanceRow]) -> str:
        found = [why for row in group if (why := intact.problem_of(self._archive, row, self._watch))]
        more = f"; {len(found) - 1} more files are" if len(found) > 1 else ""
        return f"{found[0]}{more}" if found else ""


def _grouped(archive: Archive, rows: Sequence[InstanceRow]) -> dict[str, list[InstanceRow]]:
    """Return, by archive name, which of `rows` go together: those of one series, and what was made of its images."""
    of_series: dict[str, list[InstanceRow]] = defaultdict(list)
    for row in rows:
        made_of = archive.database.rows(_SOURCE_SERIES, (row.sop_instance,)) if row.kind == DERIVED else []
        groups = {id(of_series[uid]): of_series[uid] for uid in (row.series, *(uid for (uid,) in made_of))}
        first, *others = groups.values()
        first.append(row)
        for other in others:
            first += other
        merged = set(map(id, others))
        for uid, group in of_series.items():
            if id(group) in merged:
                of_series[uid] = first
    return {row.name: group for group in of_series.values() for row in group}
