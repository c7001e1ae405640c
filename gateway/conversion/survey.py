"""What the frames of one object have in common: found in one pass, kept as one value an attribute.

The result says for every attribute of the sources whether it goes to the top level, into the shared functional groups,
or stays with each frame (PS3.3 C.7.6.16.2.FG of Supplement 157: absent equals empty, sequences item by item).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.conversion.amended import originals
from gateway.conversion.groups import STAND_INS, Groups, frame_groups
from gateway.conversion.identity import without_contribution_time
from gateway.conversion.keys import Key, keyed
from gateway.conversion.overlays import presentation_tags
from gateway.objects.elements import DataSet, Element, empty, is_empty, items, same, tag_of, text, texts
from gateway.objects.remembered import remembered
from gateway.standard.frame_type import FRAME_TYPE_SEQUENCES

CONTRIBUTING_EQUIPMENT = tag_of("ContributingEquipmentSequence")
REQUEST_ATTRIBUTES = tag_of("RequestAttributesSequence")
SERIES_DATE, SERIES_TIME = tag_of("SeriesDate"), tag_of("SeriesTime")

# Not taken over: identity (Conversion Source and Related Series have it), the one frame of a classic image, views,
# concatenations (E3), signatures that no longer hold (G25), padding behind the data set.
LEFT_OUT = frozenset(
    tag_of(keyword)
    for keyword in (
        "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "NumberOfFrames", "QueryRetrieveView",
        "ConversionSourceAttributesSequence",
        "SOPInstanceUIDOfConcatenationSource", "ConcatenationUID", "InConcatenationNumber",
        "InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber",
        "MACParametersSequence", "DigitalSignaturesSequence", "DataSetTrailingPadding",
    )
)  # fmt: skip

# Attributes of Common CT/MR Image Description and MR Image Description (C.8.16.2, C.8.13.3.1).
DESCRIPTION = (
    "PixelPresentation", "VolumetricProperties", "VolumeBasedCalculationTechnique",
    "ComplexImageComponent", "AcquisitionContrast",
)  # fmt: skip

# What `Survey` looks at beyond whether it is the same.
_SPECIAL = frozenset(
    (
        REQUEST_ATTRIBUTES,
        CONTRIBUTING_EQUIPMENT,
        *map(tag_of, ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")),
        *(tag_of(what + part) for what in ("Content", "Acquisition", "Series", "Study") for part in ("Date", "Time")),
    )
)

# These stand with each frame even where they never change, which the standard leaves open. A shared Pixel Value
# Transformation is dropped by dicom2nifti without a word: its CT is 1024 too high (E53). From a shared orientation
# dcm2niix takes the slices of GE, Siemens and others by place alone, which mixes volumes, and with slopes that it never
# read; without it it takes frames as they come.
NEVER_SHARED = frozenset((tag_of("PlaneOrientationSequence"), tag_of("PixelValueTransformationSequence")))


def remaining(
    ds: DataSet, consumed: Collection[int], added: Iterable[int] = (), settled: Container[Key] = ()
) -> Iterator[tuple[Key, Element]]:
    """Yield what the functional groups have not consumed and what has a value.

    What stands in the new object without being in the source comes as an empty element, which says so: an absent value
    equals an empty one (Sup 157 FG), and unfolding adds nothing.

    Overlays and graphic annotations are left out (E25, E28): they go into presentation states; so is what is `settled`
    elsewhere.
    """
    moved = presentation_tags(ds)
    for key, element in keyed(ds):
        if key in settled or key in consumed or key in moved or key in LEFT_OUT or is_empty(element):
            continue
        yield key, element
    for tag in (*STAND_INS, *sorted(added)):
        if tag not in settled and is_empty(ds.get(tag)):
            yield tag, empty(tag)


@dataclass
class Survey:
    """Attributes of the frames of one object, compared.

    Attributes
    ----------
    modality : str
        Row of table C.3.5-1.
    legacy : bool
        For a Legacy Converted object.
    added : frozenset of int
        Tags that the top level has whether or not the sources do.
    pixels : DataSet
        Image Pixel attributes of the object that are not those of every source.
    count : int
        Number of frames seen.
    originals : DataSet
        What every frame's source said of its pixels where the object says otherwise.
    values : dict
        First value of every attribute, by key.
    varying : set
        Keys whose values differ.
    empty : set of int
        Tags of elements without a value in some frame.
    groups : dict
        First value of every functional group.
    varying_groups : set
        Tags of groups that differ.
    series_start : tuple of str
        Earliest Series Date and Time (G12).
    content_start : tuple of str
        Earliest Content Date and Time, or what comes nearest to them.
    lossy : DataSet or None
        Lossy compression attributes of the first frame that was compressed lossily (E39).
    frame_types : set
        Distinct Frame Types with their Common CT/MR Image Description.
    apart : frozenset of int
        Tags of what stands with each frame even where all have the same.
    requests : list of DataSet
        Distinct items of Request Attributes Sequence (G13).
    """

    modality: str
    legacy: bool = True
    added: frozenset[int] = frozenset()
    pixels: DataSet = field(default_factory=dict)
    apart: frozenset[int] = frozenset()
    count: int = 0
    originals: DataSet = field(default_factory=dict)
    values: dict[Key, Element] = field(default_factory=dict)
    counts: dict[Key, int] = field(default_factory=dict)
    varying: set[Key] = field(default_factory=set)
    empty: set[int] = field(default_factory=set)
    groups: Groups = field(default_factory=dict)
    group_counts: dict[int, int] = field(default_factory=dict)
    varying_groups: set[int] = field(default_factory=set)
    series_start: tuple[str, str] = ("", "")
    content_start: tuple[str, str] = ("", "")
    lossy: DataSet | None = None
    frame_types: set[tuple] = field(default_factory=set)
    requests: list[DataSet] = field(default_factory=list)
    _equipment_differs: bool = False
    _first: dict[Key, Element] = field(default_factory=dict)  # all attributes of the first frame
    _kept: tuple = ()  # what of them is left to compare depends on
    _alike: frozenset[Key] = frozenset()  # those that were compared
    _counted: int = 0  # further frames of which `counts` has only what differs from them

    def add(self, ds: DataSet) -> None:
        """Take in the header of one more frame."""
        groups, _, consumed, added = frame_groups(ds, self.modality, legacy=self.legacy)
        added = added | self.added
        said = originals(ds)
        agreed = self.originals.items() if self.count else said.items()
        self.originals = {tag: element for tag, element in agreed if said.get(tag) == element}
        self.count += 1
        special = self._compare(ds, consumed, added)
        for tag, group in groups.items():
            self.group_counts[tag] = self.group_counts.get(tag, 0) + 1
            first = self.groups.setdefault(tag, group)
            if first is not group and tag not in self.varying_groups and not same(first, group):
                self.varying_groups.add(tag)
        self.frame_types.add(_frame_type(groups[tag_of(FRAME_TYPE_SEQUENCES[self.modality])]))
        if special:
            self._special(ds)

    def _compare(self, ds: DataSet, consumed: set[int], added: set[int]) -> bool:
        """Take in the attributes of one more frame; return whether any of `_SPECIAL` is not the first frame's own.

        Those that are the first frame's own, the same objects in memory, are only counted.
        """
        said = dict(keyed(ds))
        first, kept = self._first, (consumed, added, presentation_tags(ds))
        alike: Collection[Key] = ()
        differing: Collection[Key] = said
        if kept == self._kept:
            differing = {key for key, element in said.items() if first.get(key) is not element}
            differing |= first.keys() - said.keys()
            alike = self._alike - differing
            self._counted += 1
            for key in self._alike & differing:
                self.counts[key] -= 1
        self.empty.update(key for key in differing if isinstance(key, int) and key in said and not said[key].value)
        for key, element in remaining(ds, consumed, added, alike):
            self.counts[key] = self.counts.get(key, 0) + 1
            known = self.values.setdefault(key, element)
            if known is not element and key not in self.varying and not same(known, element):
                self.varying.add(key)
        if self.count == 1:
            self._first, self._kept, self._alike = said, kept, frozenset(self.values)
        return not _SPECIAL.isdisjoint(differing)

    def _is_everywhere(self, key: Key) -> bool:
        """Tell whether every frame has an attribute."""
        return self.counts.get(key, 0) + (self._counted if key in self._alike else 0) == self.count

    def rewritten(self, change: Callable[[Element], Element]) -> Survey:
        """Return this survey with every sequence changed: what was equal stays equal."""

        def changed(values: Any) -> Any:
            return {key: element if isinstance(element.value, bytes) else change(element) for key, element in values}

        return replace(self, values=changed(self.values.items()), groups=changed(self.groups.items()))

    def _special(self, ds: DataSet) -> None:
        self.series_start = earliest(self.series_start, (text(ds, SERIES_DATE), text(ds, SERIES_TIME)))
        for what in ("Content", "Acquisition", "Series", "Study"):
            date = text(ds, what + "Date")
            if date:
                self.content_start = earliest(self.content_start, (date, text(ds, what + "Time") or "000000"))
                break
        if self.lossy is None and text(ds, "LossyImageCompression") == "01":
            tags = map(tag_of, ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"))
            self.lossy = {tag: ds[tag] for tag in tags if tag in ds}
        for item in items(ds, REQUEST_ATTRIBUTES):
            if item not in self.requests:
                self.requests.append(item)
        first = self.values.get(CONTRIBUTING_EQUIPMENT)
        if without_contribution_time(first) != without_contribution_time(ds.get(CONTRIBUTING_EQUIPMENT)):
            self._equipment_differs = True

    @property
    def equipment_differs(self) -> bool:
        """Whether Contributing Equipment differs in more than its times, or only some frames have it (G8)."""
        known = CONTRIBUTING_EQUIPMENT in self.values
        return self._equipment_differs or (known and not self._is_everywhere(CONTRIBUTING_EQUIPMENT))

    def shared(self) -> dict[Key, Element]:
        """Return what every frame has with the same value."""
        return {
            key: element
            for key, element in self.values.items()
            if key not in self.varying and key not in self.apart and self._is_everywhere(key)
        }

    def shared_groups(self) -> Groups:
        """Return the functional groups that every frame has with the same content."""
        return {
            tag: group
            for tag, group in self.groups.items()
            if self.group_counts[tag] == self.count and tag not in self.varying_groups | NEVER_SHARED
        }


def _frame_type(group: Element) -> tuple:
    assert isinstance(group.value, tuple)
    return _described(group.value[0])


@remembered
def _described(item: DataSet) -> tuple:
    return texts(item, "FrameType"), *(text(item, keyword) for keyword in DESCRIPTION)


def earliest(one: tuple[str, str], other: tuple[str, str]) -> tuple[str, str]:
    """Return the earlier of two (date, time) pairs; one that lacks a date or a time comes last."""
    if not other[0]:
        return one if one[0] or one[1] else other
    if not one[0]:
        return other
    return min(one, other, key=lambda pair: (pair[0], pair[1] or "~"))
