"""Enhanced to classic: the attributes of one frame at the top level of a classic image (PS3.4 C.3.5).

There are two readings of the same object. `unfold` gives back the classic image that a frame was made of: what the
conversion added goes, unassigned attributes go last because they hold the original of what it had to change.
`flatten` takes an object that was not made of classic images for what it is: every attribute of the top level, of the
shared groups and of the frame's groups comes to the top level of the classic image, the more specific one going before
the more general.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.conversion.groups import ADDED_PURPOSES, PURPOSE, WINDOW, without_added_purposes
from gateway.conversion.kept import PER_FRAME, SHARED, said
from gateway.conversion.keys import Key, keyed, placed
from gateway.conversion.private_block import REPLACED, REPLACED_IN_GROUPS, element_of, key_of
from gateway.conversion.related import apart
from gateway.conversion.top_level import ENHANCED_ONLY, own_frame_of_reference
from gateway.conversion.window_needs import DEFAULT_WINDOW, OLD_DEFAULT_WINDOW
from gateway.objects.elements import (
    DataSet,
    Element,
    integer,
    is_empty,
    is_private,
    items,
    make,
    same,
    sequence,
    tag_of,
    text,
    texts,
)
from gateway.standard.frame_type import FRAME_TYPE_SEQUENCES
from gateway.standard.macros import CLASSIC_SEQUENCES

_CONTENT = tag_of("FrameContentSequence")
_SOURCE = tag_of("ConversionSourceAttributesSequence")
_SERIES = tag_of("SeriesInstanceUID")
_UNASSIGNED = (SHARED, PER_FRAME)
_FRAME_TYPES = frozenset(map(tag_of, FRAME_TYPE_SEQUENCES.values()))

# Groups whose sequence is that of the classic image.
_SAME_IN_CLASSIC = frozenset(map(tag_of, CLASSIC_SEQUENCES))

_NOT_FLATTENED = frozenset((_SOURCE, *map(tag_of, _UNASSIGNED)))

# What the conversion of classic images adds to Frame Content, and what of it comes from the images.
_ADDED_CONTENT = frozenset(
    map(tag_of, ("StackID", "InStackPositionNumber", "DimensionIndexValues", "TemporalPositionIndex"))
)
_ACQUISITION = (
    ("FrameAcquisitionNumber", ("AcquisitionNumber",)),
    ("FrameAcquisitionDateTime", ("AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime")),
)

# What marks a window that no source had.
DEFAULT_WINDOWS = (DEFAULT_WINDOW, OLD_DEFAULT_WINDOW)

_FRAME_TYPE, _IMAGE_TYPE = tag_of("FrameType"), tag_of("ImageType")
_FRAME_LATERALITY, _IMAGE_LATERALITY = tag_of("FrameLaterality"), tag_of("ImageLaterality")

# Attributes of the multi-frame form that make no sense in an image of one frame, whose identity is another, that is in
# no concatenation (E3), and of which no signature holds any more (G25).
MULTI_FRAME_ONLY = frozenset(
    tag_of(keyword)
    for keyword in (
        "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames", "QueryRetrieveView",
        "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber", "ConversionSourceAttributesSequence",
        "SOPInstanceUIDOfConcatenationSource", "ConcatenationUID", "InConcatenationNumber",
        "InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber", "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths", "MACParametersSequence", "DigitalSignaturesSequence", "DataSetTrailingPadding",
    )
)  # fmt: skip

# Attributes of a frame that the classic image has under another name with the same value.
RENAMED = {
    tag_of(enhanced): tag_of(classic)
    for enhanced, classic in (
        ("FrameType", "ImageType"),  # C.8.16.1
        ("FrameAcquisitionNumber", "AcquisitionNumber"),  # C.7.6.16.2.2
        ("FrameAcquisitionDateTime", "AcquisitionDateTime"),
        ("FrameLaterality", "ImageLaterality"),  # C.7.6.16.2.8
    )
}

# What the top level only sums up for all frames (C.8.16, C.7.6.1.1.2): nothing is lost when a frame's own value stands.
SUMMARIES = frozenset(
    tag_of(keyword)
    for keyword in (
        "ImageType", "PixelPresentation", "VolumetricProperties", "VolumeBasedCalculationTechnique",
        "ComplexImageComponent", "AcquisitionContrast", "ContributingEquipmentSequence",
    )
)  # fmt: skip

# Values that a more specific one took the place of are kept in a private block: those of the top level, and of groups.
CARRIERS = (key_of(REPLACED), key_of(REPLACED_IN_GROUPS))

Found = dict[Key, Element]


class Unfolding:
    """The classic images that the frames of one object were made of; what all have is unfolded once.

    Parameters
    ----------
    top : DataSet
        Top level of the enhanced object.
    shared : DataSet
        Item of the Shared Functional Groups Sequence.
    """

    def __init__(self, top: DataSet, shared: DataSet) -> None:
        named = apart(top)
        self._top = top = named.rest
        self._series = named.converted
        self._found: Found = {key: element for key, element in keyed(top) if key not in ENHANCED_ONLY}
        self._content: DataSet = {}
        _take(shared, self._found, self._content)
        self._originals = said(shared, SHARED, self._top)

    def frame(self, frame: DataSet) -> Found:
        """Return the attributes of the classic image that a frame was made of, identity included.

        Parameters
        ----------
        frame : DataSet
            The frame's item of the Per-Frame Functional Groups Sequence.

        Returns
        -------
        dict
            By key. SOP Class and Instance are those of the Conversion Source where there is one; Series is the one that
            Related Series names, or Unassigned in objects of the first edition.
        """
        found, content = dict(self._found), dict(self._content)
        if self._series:
            found[_SERIES] = make("SeriesInstanceUID", self._series)
        _take(frame, found, content)
        _drop_stand_ins(self._top, found)
        originals = self._originals | said(frame, PER_FRAME, self._top)
        found.update(originals)
        _frame_content(content, found)
        _laterality(found, originals)
        for key, element in originals.items():
            if is_empty(element):
                found.pop(key, None)  # the source had none, whatever modules and groups say
        if PURPOSE in originals and is_empty(originals[PURPOSE]):
            for tag in ADDED_PURPOSES.keys() & found.keys():
                found[tag] = without_added_purposes(found[tag])
        _original_identity(frame, found)
        return found


def _take(groups: DataSet, found: Found, content: DataSet) -> None:
    """Take what functional groups say; what Frame Content says goes apart."""
    for home, key, element in _flattened(groups):
        if home in _FRAME_TYPES:
            if key == _FRAME_TYPE:
                found[_IMAGE_TYPE] = make("ImageType", *texts({element.tag: element}, element.tag))
        elif home == _CONTENT and isinstance(key, int):
            content[key] = element
        else:
            found[key] = element


def unfold(top: DataSet, shared: DataSet, frame: DataSet) -> DataSet:
    """Return the attributes of the classic image that a frame was made of as a data set.

    Parameters
    ----------
    top, shared, frame : DataSet
        As for `Unfolding`.
    """
    return placed(Unfolding(top, shared).frame(frame).items())


def _flattened(groups: DataSet) -> Iterator[tuple[Key, Key, Element]]:
    """Yield group, key and element of everything that functional groups hold.

    A sequence of one item is a group: its attributes come out. One with more items, and one that classic images have
    too, stays a sequence. So does a private one: what its items mean is unknown, and they may hold another value of
    what a standard group says.
    """
    for key, group in keyed(groups):
        if key in _NOT_FLATTENED:
            continue
        if (
            key in _SAME_IN_CLASSIC
            or is_private(group.tag)
            or not isinstance(group.value, tuple)
            or len(group.value) > 1
        ):
            yield key, key, group
        elif isinstance(group.value, tuple) and group.value:
            for inner, element in keyed(group.value[0]):
                yield key, inner, element


def _drop_stand_ins(top: DataSet, found: Found) -> None:
    """Leave out what only the enhanced form requires and the sources may not have had."""
    explanation = found.get(tag_of("WindowCenterWidthExplanation"))
    if explanation is not None and text({explanation.tag: explanation}, explanation.tag) in DEFAULT_WINDOWS:
        for keyword in WINDOW:
            found.pop(tag_of(keyword), None)
    if not items(top, "AcquisitionContextSequence"):
        found.pop(tag_of("AcquisitionContextSequence"), None)


def _frame_content(content: DataSet, found: Found) -> None:
    """Take from Frame Content what the classic image does not have already."""
    for keyword, names in _ACQUISITION:
        element = content.pop(tag_of(keyword), None)
        if element is None or any(not is_empty(found.get(tag_of(name))) for name in names):
            continue
        tag = tag_of(names[0])
        if element.vr == "US":
            found[tag] = make(names[0], integer({element.tag: element}, element.tag) or 0)
        else:
            found[tag] = element._replace(tag=tag)
    for tag, element in content.items():
        if tag not in _ADDED_CONTENT:
            found.setdefault(tag, element)


def _laterality(found: Found, originals: Found) -> None:
    """Take the side of Frame Anatomy where the image has none of its own."""
    if not is_empty(originals.get(_FRAME_LATERALITY)):
        return  # an image that says it by that name itself
    element = found.pop(_FRAME_LATERALITY, None)
    known = any(not is_empty(found.get(tag_of(keyword))) for keyword in ("ImageLaterality", "Laterality"))
    if element is not None and not known and text({element.tag: element}, element.tag) in ("R", "L", "B"):
        found[_IMAGE_LATERALITY] = element._replace(tag=_IMAGE_LATERALITY)


def _original_identity(frame: DataSet, found: Found) -> None:
    for item in items(frame, _SOURCE):
        found[tag_of("SOPClassUID")] = make("SOPClassUID", text(item, "ReferencedSOPClassUID"))
        found[tag_of("SOPInstanceUID")] = make("SOPInstanceUID", text(item, "ReferencedSOPInstanceUID"))
    reference = found.get(tag_of("FrameOfReferenceUID"))
    series = found.get(tag_of("SeriesInstanceUID"))
    if reference is not None and series is not None:
        own = own_frame_of_reference(text({series.tag: series}, series.tag))
        if text({reference.tag: reference}, reference.tag) == own:
            del found[reference.tag]


def flatten(top: DataSet, shared: DataSet, frame: DataSet) -> DataSet:
    """Return everything that an object says about a frame, at the top level of a classic image without identity.

    Parameters
    ----------
    top, shared, frame : DataSet
        As for `unfold`.
    """
    found: Found = {key: element for key, element in keyed(top) if key not in MULTI_FRAME_ONLY}
    general = set(found)
    replaced: tuple[Found, Found] = ({}, {})
    for key, element in _specific(shared, frame):
        old = found.get(key)
        if old is not None and not is_empty(old):
            if is_empty(element):
                continue
            if not same(old, element) and not (key in SUMMARIES and _sums_up(old, element)):
                replaced[0 if key in general else 1][key] = old
        general.discard(key)
        found[key] = element
    for key, number, values in zip(CARRIERS, (REPLACED, REPLACED_IN_GROUPS), replaced, strict=True):
        if values:
            found[key] = _carrier(number, values)
    return placed(found.items())


def _carrier(number: int, values: Found) -> Element:
    return element_of(number, (placed(values.items()),))


def keep_replaced(ds: DataSet, element: Element) -> None:
    """Keep a value of the top level that has no place in a classic image where replaced values are kept."""
    found = dict(keyed(ds))
    carrier = found.get(CARRIERS[0])
    values = dict(keyed(carrier.value[0])) if carrier is not None and isinstance(carrier.value, tuple) else {}
    found[CARRIERS[0]] = _carrier(REPLACED, {**values, element.tag: element})
    filled = placed(found.items())
    ds.clear()
    ds.update(filled)


def _sums_up(general: Element, own: Element) -> bool:
    """Tell whether a value of the top level says no more than that frames have different ones."""
    if isinstance(general.value, tuple):
        return True
    values, others = (texts({element.tag: element}, element.tag) for element in (general, own))
    return len(values) == len(others) and all(
        value in (other, "MIXED") for value, other in zip(values, others, strict=True)
    )


def _specific(shared: DataSet, frame: DataSet) -> Iterator[tuple[Key, Element]]:
    """Yield what functional groups and unassigned attributes hold, under classic names, the most specific last."""
    for groups in (shared, frame):
        for _, key, element in _flattened(groups):
            if isinstance(key, int) and key in RENAMED:
                yield RENAMED[key], _renamed(element)
            else:
                yield key, element
    for groups, keyword in zip((shared, frame), _UNASSIGNED, strict=True):
        for key, element in said(groups, keyword, {}).items():
            if key not in MULTI_FRAME_ONLY:
                yield key, element


def _renamed(element: Element) -> Element:
    tag = RENAMED[element.tag]
    if element.vr == "US":  # a number as text
        return make("AcquisitionNumber", integer({element.tag: element}, element.tag) or 0)
    return element._replace(tag=tag)


def appended_equipment(top: DataSet, unfolded: DataSet, added: DataSet) -> Element:
    """Return Contributing Equipment: the frame's own items, those of the object it was in, and a new one (G8)."""
    own, objects = (items(ds, "ContributingEquipmentSequence") for ds in (unfolded, top))
    older = own if own == objects else (*own, *objects)
    return sequence("ContributingEquipmentSequence", *older, added)
