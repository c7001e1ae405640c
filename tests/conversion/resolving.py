"""Follows every reference of a folder of DICOM files, with pydicom and nothing of the gateway."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path

from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

# What names the other view, or no stored instance.
NOT_FOLLOWED = {
    "ConversionSourceAttributesSequence", "ReferencedStudySequence", "ReferencedPerformedProcedureStepSequence",
    "ReferencedVisitSequence", "ReferencedPatientSequence",
}  # fmt: skip

# What holds attributes of an object as a whole: the series that is named there is its own.
ATTRIBUTES = {
    "UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence",
    "ModifiedAttributesSequence",
}  # fmt: skip

Found = tuple[str, str, str, tuple[int, ...]]  # where, class, instance, frames


def read_all(folder: Path) -> Iterator[Dataset]:
    """Yield the headers of a folder."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with contextlib.suppress(InvalidDicomError):
            yield dcmread(path, stop_before_pixels=True)


def read(folder: Path) -> dict[str, Dataset]:
    """Return the headers of a folder by SOP Instance UID."""
    return {str(ds.SOPInstanceUID): ds for ds in read_all(folder)}


def unresolved(folder: Path) -> set[str]:
    """Return what the files of a folder refer to, instances and series, that is not in it."""
    named, known = set(), set()
    for ds in read_all(folder):
        named |= {uid for (_, _, uid, _), _ in references(ds)} | set(whole_series(ds))
        known |= {str(ds.get("SOPInstanceUID")), str(ds.get("SeriesInstanceUID"))}
    return named - known


def references(ds: Dataset, place: str = "", series: str = "") -> Iterator[tuple[Found, str]]:
    """Yield every reference in a data set with the series that the items above it name."""
    for element in ds:
        if element.VR != "SQ" or element.tag.is_private or element.keyword in NOT_FOLLOWED:
            continue
        for item in element.value:
            where = f"{place}/{element.keyword}"
            if element.keyword in ATTRIBUTES:
                yield from references(item, where)
                continue
            named = str(item.get("SeriesInstanceUID", "")) or (series if "ReferencedSOPInstanceUID" in item else "")
            if "ReferencedSOPInstanceUID" in item and element.keyword != "RTReferencedStudySequence":
                frames = item.get("ReferencedFrameNumber") or ()
                numbers = tuple(int(n) for n in ([frames] if isinstance(frames, (int, str)) else frames))
                uid = str(item.ReferencedSOPInstanceUID)
                yield (where, str(item.get("ReferencedSOPClassUID", "")), uid, numbers), named
            yield from references(item, where, named)


def every_reference_resolves(folder: Path, *, unknown: Collection[str] = ()) -> int:
    """Fail on a reference to what is not in a folder, or to a class, series or frame it has not; return their number.

    `unknown` are instances that were never in the sources.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held = read(folder)
        count = 0
        for ds in held.values():
            for (where, sop_class, uid, frames), series in references(ds):
                if uid in unknown:
                    continue
                count += 1
                told = f"{ds.SOPInstanceUID} {where}: {uid}"
                assert uid in held, f"{told} is not in this view"
                target = held[uid]
                assert sop_class == target.SOPClassUID, f"{told} is of class {target.SOPClassUID}, not {sop_class}"
                assert not series or series == target.SeriesInstanceUID, f"{told} is not in series {series}"
                last = int(target.get("NumberOfFrames") or 1)
                assert all(1 <= frame <= last for frame in frames), f"{told} has {last} frames, not {frames}"
            _series_exist(ds, held, unknown)
    return count


def _series_exist(ds: Dataset, held: dict[str, Dataset], unknown: Collection[str]) -> None:
    """Check references to series as a whole."""
    known = {str(one.get("SeriesInstanceUID")) for one in held.values()} | set(unknown)
    for series in whole_series(ds):
        assert series in known, f"{ds.SOPInstanceUID}: series {series} is not in this view"


def whole_series(ds: Dataset, keyword: str = "") -> Iterator[str]:
    """Yield the series that a data set refers to without naming instances, its source series left out."""
    unassigned = keyword in ATTRIBUTES
    lists = [e for e in ds if e.VR == "SQ" and any("ReferencedSOPInstanceUID" in item for item in e.value)]
    if keyword and not unassigned and "SeriesInstanceUID" in ds and not lists and "ReferencedSOPInstanceUID" not in ds:
        yield str(ds.SeriesInstanceUID)
    for element in ds:
        if element.VR == "SQ" and not element.tag.is_private and element.keyword not in NOT_FOLLOWED:
            for item in element.value[: -1 if not keyword and names_its_source(ds, element) else None]:
                yield from whole_series(item, element.keyword)


def names_its_source(ds: Dataset, element: DataElement) -> bool:
    """Tell whether the last related series of an object is that of what it was made of, which is of another view."""
    if element.keyword != "RelatedSeriesSequence" or "QueryRetrieveView" not in ds or not element.value:
        return False
    return [one.CodeValue for one in element.value[-1].get("PurposeOfReferenceCodeSequence", ())] == ["121326"]
