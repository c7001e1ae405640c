"""Rewritten copies at the PACS of the demonstration, compared with what was sent - by pydicom alone.

A copy says what its source says, and every reference names what its target is at the PACS: the frame that stands for
an image, the copy that stands for another object, or the object itself. Items of a reference that name frames of one
object may be one item there, and one item that names several objects may be several; so what stands in lists of
references is compared as a whole. Evidence names instances and no frames (PS3.3 C.17.2.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.dataset import Dataset

from gateway.cli.elements import frames_of, key_of, meaning, means_nothing

if TYPE_CHECKING:
    from gateway.cli.evidence import Received

# What a copy says itself: its identity and view, who made it and of what; signatures are over other bytes (C.3.5).
_OWN = frozenset((0x00080018, 0x0020000E, 0x00080053, 0x0018A001, 0x00209172, 0x4FFE0001, 0xFFFAFFFA))
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_EQUIPMENT, _RELATED = "ContributingEquipmentSequence", "RelatedSeriesSequence"

# References to what something was converted from, and to what no archive holds: never rewritten.
_NOT_FOLLOWED = frozenset(
    (
        "ConversionSourceAttributesSequence", "ReferencedStudySequence", "ReferencedPerformedProcedureStepSequence",
        "ReferencedVisitSequence", "ReferencedPatientSequence",
    )
)  # fmt: skip
# Items of these name a study where others name an instance (PS3.3 C.8.8.5).
_STUDIES = "RTReferencedStudySequence"

# Class, frames and series of a target are compared as parts of the reference; signatures of a target end with it.
_OF_TARGET = frozenset((0x00081150, 0x00081160, 0x0020000E, 0x04000402, 0x04000403))

# Lists of a hierarchical reference that name instances without frames (PS3.3 tables C.17-3 and C.12-8).
_EVIDENCE = frozenset(("ReferencedSOPSequence", "ReferencedInstanceSequence"))

Atom = tuple[str, int]


class Places:
    """Where everything that was sent is at the PACS.

    Parameters
    ----------
    received : sequence of Received
        What is there.
    sent : mapping of str to Path
        What was sent, by SOP Instance UID.
    """

    def __init__(self, received: Sequence[Received], sent: Mapping[str, Path]) -> None:
        self.sent = sent
        self.objects = {found.sop_instance: found for found in received}
        self.copy_of = {found.source: found for found in received if found.source}
        # The object that stands for an instance which is not there under its own UID.
        self.stands = {uid: found for found in received for uid in found.carries if uid not in self.objects}
        self.stands |= self.copy_of

    @cached_property
    def series(self) -> dict[str, set[str]]:
        """The series at the PACS that the instances of each series sent are in."""
        found: dict[str, set[str]] = {}
        for uid, path in self.sent.items():
            header = pydicom.dcmread(path, force=True, specific_tags=["SeriesInstanceUID"], stop_before_pixels=True)
            place = self.objects.get(uid) or self.stands.get(uid)
            if place is not None:
                found.setdefault(str(header.get("SeriesInstanceUID", "")), set()).add(place.series)
        return found

    def moved(self, uid: str) -> str:
        """Return under which UID an instance is there."""
        place = self.stands.get(uid)
        return place.sop_instance if place else uid

    def atoms(self, uid: str, frames: Sequence[int]) -> set[Atom]:
        """Return which instances that were sent, or which of their frames, a reference to an object means."""
        place = self.objects.get(uid) or self.copy_of.get(uid)
        if place is not None and place.carries:
            numbers = frames or range(1, len(place.carries) + 1)
            return {(place.carries[n - 1], 0) for n in numbers if 0 < n <= len(place.carries)}
        name = place.source or uid if place is not None else uid
        if not frames or (place is not None and set(frames) == set(range(1, place.frames + 1))):
            return {(name, 0)}
        return {(name, number) for number in frames}


def compare(path: Path, source: Path, places: Places) -> Iterator[str]:
    """Yield what is wrong with the copy in a file."""
    copy = pydicom.dcmread(path, stop_before_pixels=True)
    original = pydicom.dcmread(source, force=True, stop_before_pixels=True)
    if not _names_source(copy, original):
        yield f"does not name the series of {source.name}"
    yield from _elements(copy, original, places)
    if set(_references(original, places)) != set(_references(copy, places)):
        yield f"does not refer to what {source.name} refers to"
    yield from _targets(copy, places)
    if {uid for one in _whole_series(original) for uid in places.series.get(one, {one})} != set(_whole_series(copy)):
        yield f"does not refer to the series that {source.name} refers to"
    older, newer = (list(ds.get(_EQUIPMENT) or []) for ds in (original, copy))
    if len(newer) != len(older) + 1 or not _alike(older, newer[:-1], places):
        yield f"does not have the equipment of {source.name} and one more"
    if any(one != other for one, other in zip_longest(frames_of(path), frames_of(source))):
        yield f"has other pixels than {source.name}"


def _names_source(copy: Dataset, original: Dataset) -> bool:
    """Take the item that names the series of the source out of Related Series Sequence; tell whether there was one."""
    related = list(copy.get(_RELATED) or [])
    purposes = [one for item in related[-1:] for one in item.get("PurposeOfReferenceCodeSequence") or []]
    if [(one.get("CodeValue"), one.get("CodingSchemeDesignator")) for one in purposes] != [("121326", "DCM")]:
        return False
    named = related.pop()
    if related:
        copy[_RELATED].value = related
    else:
        del copy[_RELATED]
    return bool(named.get("SeriesInstanceUID") == original.get("SeriesInstanceUID"))


def _elements(copy: Dataset, original: Dataset, places: Places) -> Iterator[str]:
    """Yield which elements are not those of the source."""
    held = {key_of(copy, element): element for element in copy if not _skipped(element)}
    said = {key_of(original, element): element for element in original if not _skipped(element)}
    for key in sorted(held.keys() | said.keys(), key=str):
        one, other = said.get(key), held.get(key)
        if one is None or other is None:
            yield f"{(one or other).tag} is {'lost' if other is None else 'new'}"  # type: ignore[union-attr]
        elif not _same(one, other, places):
            yield f"{one.tag} is another than that of its source"


def _skipped(element: Any) -> bool:
    return element.tag in _OWN or element.tag in _PIXELS or means_nothing(element)


def _same(one: Any, other: Any, places: Places) -> bool:
    if one.VR != "SQ" or other.VR != "SQ" or not _followed(one):
        return bool(meaning(one.value, one.VR) == meaning(other.value, other.VR))
    return _alike(one.value, other.value, places)


def _followed(element: Any) -> bool:
    return not element.tag.is_private and element.keyword not in _NOT_FOLLOWED


def _alike(ones: Sequence[Dataset], others: Sequence[Dataset], places: Places) -> bool:
    """Return whether two lists of items say the same, but for how references are spread over items."""

    def unchanged(uid: str) -> str:
        return uid

    if len(ones) == len(others) and all(
        _item_alike(one, other, places) for one, other in zip(ones, others, strict=True)
    ):
        return True
    refers = any(True for item in (*ones, *others) for _ in _referring(item, ("",)))
    return refers and set(_leaves(ones, places.moved)) == set(_leaves(others, unchanged))


def _item_alike(one: Dataset, other: Dataset, places: Places) -> bool:
    said, held = ({key_of(ds, e): e for e in ds if not _beside(e)} for ds in (one, other))
    if said.keys() != held.keys():
        return False
    for key, element in said.items():
        if element.VR == "UI" and held[key].VR == "UI" and not element.tag.is_private:
            found = _moved(element.value, places.moved)
            if found != _moved(held[key].value, str):
                return False
        elif not _same(element, held[key], places):
            return False
    return True


def _beside(element: Any) -> bool:
    return element.tag in _OF_TARGET or means_nothing(element)


def _moved(value: Any, place: Callable[[str], str]) -> tuple[str, ...]:
    return tuple(place(str(uid)) for uid in ([value] if isinstance(value, str) else value))


def _leaves(items: Sequence[Dataset], place: Callable[[str], str], path: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Yield every value of some items with its path, whichever item it is in."""
    for item in items:
        for element in item:
            where = (*path, key_of(item, element))
            if _beside(element):
                continue
            if element.VR == "SQ" and _followed(element):
                yield from _leaves(element.value, place, where)
            elif element.VR == "UI" and not element.tag.is_private:
                yield where, _moved(element.value, place)
            else:
                yield where, str(meaning(element.value, element.VR))


def _referring(ds: Dataset, path: tuple[str, ...] = (), series: str = "") -> Iterator[tuple[Any, Dataset, str]]:
    """Yield every item that refers to an instance, with the keywords above it and the series it is said to be in."""
    if path and path[-1] != _STUDIES and "ReferencedSOPInstanceUID" in ds:
        yield path, ds, str(ds.get("SeriesInstanceUID", "")) or series
    for element in ds:
        if element.VR == "SQ" and _followed(element):
            for item in element.value:
                yield from _referring(item, (*path, element.keyword), str(item.get("SeriesInstanceUID", "")) or series)


def _frames(item: Dataset) -> list[int]:
    if "ReferencedFrameNumber" not in item or item["ReferencedFrameNumber"].is_empty:
        return []
    element = item["ReferencedFrameNumber"]
    return [int(number) for number in (element.value if element.VM > 1 else [element.value])]


def _references(ds: Dataset, places: Places) -> Iterator[tuple[Any, Atom]]:
    """Yield which instance that was sent, or which of its frames, is referred to where."""
    for path, item, series in _referring(ds):
        uid = str(item.ReferencedSOPInstanceUID)
        if path[-1] in _EVIDENCE and series and "SeriesInstanceUID" not in item:
            yield path, (places.moved(uid), 0)
            continue
        for atom in places.atoms(uid, _frames(item)):
            yield path, atom


def _targets(copy: Dataset, places: Places) -> Iterator[str]:
    """Yield references to what is there under another UID, as another class or in another series."""
    for _, item, series in _referring(copy):
        uid = str(item.ReferencedSOPInstanceUID)
        target = places.objects.get(uid)
        if target is None:
            if uid in places.sent:
                yield f"refers to {uid}, which is at the PACS as {places.moved(uid)}"
        elif item.get("ReferencedSOPClassUID", target.sop_class) != target.sop_class:
            yield f"refers to {uid} as another class"
        elif series and series != target.series:
            yield f"refers to {uid} in another series"
        elif any(not 1 <= number <= target.frames for number in _frames(item)):
            yield f"refers to a frame that {uid} has not"


def _whole_series(ds: Dataset, keyword: str = "") -> Iterator[str]:
    """Yield the series that are referred to without naming instances."""
    lists = any(e.VR == "SQ" and any("ReferencedSOPInstanceUID" in item for item in e.value) for e in ds)
    alone = "SeriesInstanceUID" in ds and "ReferencedSOPInstanceUID" not in ds and not lists
    if keyword and alone and "Attributes" not in keyword:
        yield str(ds.SeriesInstanceUID)
    for element in ds:
        if element.VR == "SQ" and _followed(element):
            for item in element.value:
                yield from _whole_series(item, element.keyword)
