"""What a view has of one study: its columns, its series with their counts, and the headers of its instances.

Reads only, so that another process can ask while the gateway runs.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.archive.intact import header_of
from gateway.archive.keys import ANYWHERE, latest_series, latest_study
from gateway.archive.rows import DERIVED, PATIENT_COLUMNS, SERIES_COLUMNS, STUDY_COLUMNS, InstanceRow
from gateway.archive.views import View
from gateway.conversion.multiframe import PER_FRAME
from gateway.errors import ArchiveError, ObjectError
from gateway.objects.elements import DataSet, Span, integer, items
from gateway.objects.parse import Syntax, item_ranges, parse_dataset

if TYPE_CHECKING:
    from gateway.archive.index import Archive


_OF_PATIENT = ("patient_id", "issuer")  # the only columns of patient itself


def _columns(table: str, columns: dict[str, str]) -> str:
    return ", ".join(f"{'p' if column in _OF_PATIENT else table}.{column}" for column in columns)


_STUDIES = f"""SELECT t.uid FROM study t WHERE (t.uid = ?1 OR ?1 <> '' AND t.id IN
        (SELECT k.study FROM study_keys k WHERE k.accession = ?1 AND {ANYWHERE}))
    AND EXISTS (SELECT 1 FROM study_tally y WHERE y.study = t.id AND y.instances > 0) ORDER BY t.uid"""

_STUDY = f"""SELECT {_columns("k", PATIENT_COLUMNS)}, {_columns("k", STUDY_COLUMNS)},
        coalesce(y.series, 0), coalesce(y.instances, 0)
    FROM study t JOIN study_keys k ON k.id = coalesce({{latest}}, {{received}}) JOIN patient p ON p.id = k.patient
    LEFT JOIN study_tally y ON y.study = t.id AND y.view = ?
    WHERE t.uid = ?"""

# What other instances in force say of the study, the latest first.
_VERSIONS = f"""SELECT {_columns("k", PATIENT_COLUMNS)}, {_columns("k", STUDY_COLUMNS)}
    FROM study t JOIN study_keys k ON k.study = t.id JOIN patient p ON p.id = k.patient
    JOIN series_keys g ON g.study_keys = k.id JOIN keys_tally w ON w.keys = g.id AND w.instances > 0
    WHERE t.uid = ? AND w.view = ? GROUP BY k.id ORDER BY max(w.latest) DESC, max(w.last) DESC"""

_SERIES = f"""SELECT s.uid, {_columns("g", SERIES_COLUMNS)}, y.instances
    FROM study t JOIN series s ON s.study = t.id JOIN series_tally y ON y.series = s.id AND y.view = ?
    JOIN series_keys g ON g.id = {{latest}}
    WHERE t.uid = ? AND y.instances > 0"""


@dataclass(frozen=True)
class SeriesContents:
    """A series as a view has it.

    Attributes
    ----------
    uid : str
        Series Instance UID.
    columns : dict
        What the index holds of it, by keyword.
    count : int
        Number of Series Related Instances in the view.
    rows : list of InstanceRow
        Those instances, in order of their numbers.
    """

    uid: str
    columns: dict[str, str | int | None]
    count: int
    rows: list[InstanceRow] = field(repr=False)


@dataclass(frozen=True)
class StudyContents:
    """A study as a view has it.

    Attributes
    ----------
    uid : str
        Study Instance UID.
    columns : dict
        What the index holds of patient and study, by keyword.
    series_count, instance_count : int
        Number of Study Related Series and Instances in the view.
    series : list of SeriesContents
        Its series, in order of their numbers.
    """

    uid: str
    columns: dict[str, str | int | None]
    series_count: int
    instance_count: int
    series: list[SeriesContents]


def study_named(archive: Archive, key: str) -> str:
    """Return the Study Instance UID of the one study that a UID or an Accession Number stands for.

    Raises
    ------
    ArchiveError
        If there is none, or an Accession Number is that of several.
    """
    found = [uid for (uid,) in archive.database.rows(_STUDIES, (key,))]
    if not found:
        raise ArchiveError(key, "no such study here", expected="a Study Instance UID or an Accession Number")
    if len(found) > 1 and key not in found:
        raise ArchiveError(
            key, "is the Accession Number of several studies", found=", ".join(found), remedy="name one by its UID"
        )
    return key if key in found else found[0]


def study_contents(archive: Archive, study: str, view: View) -> StudyContents:
    """Return what a view has of a study.

    Parameters
    ----------
    archive : Archive
        May be open for reading only.
    study : str
        Study Instance UID.
    view : View
        One view.

    Raises
    ------
    ArchiveError
        If there is no such study.
    """
    latest, received = (latest_study(one, "lk.study = t.id") for one in (view, View.RECEIVED))
    sql = _STUDY.format(latest=latest.text, received=received.text)
    found = archive.database.row(sql, (*latest.values, *received.values, int(view), study))
    if found is None:
        raise ArchiveError(study, "no such study here", expected="a Study Instance UID")
    *values, series_count, instance_count = found
    newest = latest_series(view)
    sql = _SERIES.format(latest=newest.text)
    known = {uid: rest for uid, *rest in archive.database.rows(sql, (int(view), *newest.values, study))}
    members: dict[str, list[InstanceRow]] = {}
    for row in archive.study_instances(study, view):
        members.setdefault(row.series, []).append(row)
    series = []
    for uid, rows in members.items():
        # A series that has come between the two queries is there the next time.
        if uid in known:
            *columns, count = known[uid]
            series.append(SeriesContents(uid, _named(SERIES_COLUMNS, columns), count, sorted(rows, key=_position)))
    series.sort(key=lambda one: _ordered(one.columns["SeriesNumber"], one.uid))
    of_study = _named(_OF_STUDY, values)
    for version in archive.database.rows(_VERSIONS, (study, int(view))):
        _fill(of_study, _named(_OF_STUDY, list(version)))
    return StudyContents(study, of_study, series_count, instance_count, series)


_OF_STUDY = PATIENT_COLUMNS | STUDY_COLUMNS


def _fill(columns: dict[str, str | int | None], version: dict[str, str | int | None]) -> None:
    """Take what the latest instance leaves open from one that says nothing else of the patient."""
    who = [(columns[keyword], version[keyword]) for keyword in PATIENT_COLUMNS.values()]
    if not any(left != right for left, right in who if left and right):
        columns |= {keyword: value for keyword, value in version.items() if not columns[keyword]}


def _position(row: InstanceRow) -> tuple[bool, int, str]:
    return _ordered(row.instance_number, row.sop_instance)


def _ordered(number: str | int | None, uid: str) -> tuple[bool, int, str]:
    """Return by what is sorted: the number, where there is none before all others."""
    return number is not None, int(number or 0), uid


def _named(columns: dict[str, str], values: list) -> dict[str, str | int | None]:
    """Return values by keyword."""
    # "date" and others are columns of more than one table; their order is that of the query.
    return dict(zip(columns.values(), values, strict=True))


@dataclass(frozen=True)
class Head:
    """What an instance says outside of its pixel data.

    Attributes
    ----------
    dataset : DataSet
        Its attributes, the Per-Frame Functional Groups Sequence of a long object left in its file.
    """

    dataset: DataSet
    path: Path = field(repr=False)
    syntax: Syntax = field(repr=False)

    def frames(self) -> Iterator[DataSet]:
        """Yield the functional groups of each frame, one at a time."""
        element = self.dataset.get(PER_FRAME)
        if element is None or not isinstance(element.value, Span):
            yield from items(self.dataset, PER_FRAME)
            return
        start, stop = element.value.offset, element.value.offset + element.value.length
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            for offset, length, _ in item_ranges(buffer, start, stop, self.syntax):
                yield parse_dataset(buffer, offset, offset + length, self.syntax)[0]


def head_of(archive: Archive, row: InstanceRow) -> Head:
    """Return the header of an instance, received or derived.

    Raises
    ------
    ArchiveError
        If the file is gone.
    ObjectError
        If it cannot be read.
    """
    if row.kind == DERIVED:
        return _derived(archive, row)
    return _received(archive, row)


def _received(archive: Archive, row: InstanceRow) -> Head:
    header = header_of(archive, row, frozenset((PER_FRAME,)))
    signed = integer(header.dataset, "PixelRepresentation") == 1
    return Head(header.dataset, header.path, Syntax(header.implicit, header.big_endian, signed=signed))


def _derived(archive: Archive, row: InstanceRow) -> Head:
    path = archive.path_of(row)
    recipe = archive.recipe_of(row)
    syntax = Syntax(left=frozenset((PER_FRAME,)))
    kind, start, stop, *_ = recipe.segments[0]
    if kind != "h":
        raise ObjectError(path.name, "does not begin with its header", found=kind)
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            dataset, _ = parse_dataset(buffer, start, stop, syntax, stop_at_pixels=True)
    except ObjectError:
        # A copy of which a long value is left in the source's file. But for references that file says the same.
        source = archive.instance(next(iter(archive.sources_of(row.sop_instance)), ""))
        if source is None or source.kind == DERIVED:
            raise
        return _received(archive, source)
    return Head(dataset, path, Syntax(signed=syntax.signed))
