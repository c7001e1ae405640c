"""References from object to object: finding them, at any depth (PS3.3 tables 10-3, 10-11, C.17-3, C.17-3b).

A reference is an item with Referenced SOP Instance UID. An item with Series Instance UID that holds a list of such
items is hierarchical; one without a list means the series as a whole. In content trees a UIDREF may name either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gateway.conversion.related import apart
from gateway.objects.elements import DataSet, Element, tag_of, text
from gateway.objects.known import opened

REFERENCED_CLASS = tag_of("ReferencedSOPClassUID")
REFERENCED_INSTANCE = tag_of("ReferencedSOPInstanceUID")
REFERENCED_FRAME = tag_of("ReferencedFrameNumber")
SERIES_INSTANCE = tag_of("SeriesInstanceUID")

CONTENT_SEQUENCE = tag_of("ContentSequence")
REFERENCED_SOP = tag_of("ReferencedSOPSequence")
REFERENCED_INSTANCES = tag_of("ReferencedInstanceSequence")
VALUE_TYPE, UID_VALUE = tag_of("ValueType"), tag_of("UID")

# References to what an object was converted from belong to the other view and are never rewritten (C.3.5 note 3).
CONVERSION_SOURCE = tag_of("ConversionSourceAttributesSequence")

# Not followed: these name managed entities (a procedure step, a visit), never an object that an archive holds, and a
# performed procedure step is never altered by a conversion (G24).
NOT_FOLLOWED = frozenset(
    (
        CONVERSION_SOURCE,
        *map(
            tag_of,
            (
                "ReferencedStudySequence", "ReferencedPerformedProcedureStepSequence", "ReferencedVisitSequence",
                "ReferencedPatientSequence",
            ),
        ),
    )
)  # fmt: skip

# Items of these hold a Study Instance UID where others have a SOP Instance UID (PS3.3 C.8.8.5); what is in them counts.
STUDY_ITEMS = frozenset((tag_of("RTReferencedStudySequence"),))

# Items of these are attributes of an object as a whole: Series Instance UID there is no reference.
ATTRIBUTE_ITEMS = frozenset(
    map(
        tag_of,
        (
            "UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence",
            "ModifiedAttributesSequence",
        ),
    )
)  # fmt: skip


class Target(NamedTuple):
    """What an instance has become in a view, or what a frame of it is there.

    Attributes
    ----------
    frame : int
        Number of the frame it is; 0 when it is an object of its own.
    frames : int
        Number of frames of the object, where that is known.
    """

    sop_class: str
    sop_instance: str
    series: str
    study: str
    frame: int = 0
    frames: int = 0


class PerFrame(NamedTuple):
    """What each frame of an object is in a view that does not have the object."""

    targets: tuple[Target, ...]


class InSeries(NamedTuple):
    """The series that the instances of a series are in, in a view."""

    series: tuple[str, ...]


# What has become of UIDs, of instances and of series; those that stand as they are are not in it.
Became = Mapping[str, Target | PerFrame | InSeries]


def every_target(became: Became) -> Iterator[Target]:
    """Yield every object and frame of a reference map."""
    for what in became.values():
        if isinstance(what, Target):
            yield what
        elif isinstance(what, PerFrame):
            yield from what.targets


def followed(element: Element) -> tuple[DataSet, ...]:
    """Return the items of a sequence that may hold references: no private one, as nobody knows what its UIDs mean."""
    return () if element.tag in NOT_FOLLOWED else opened(element) or ()


def instance_of(item: DataSet, within: int) -> str:
    """Return the SOP Instance UID that an item of the sequence `within` refers to, empty if it is no reference."""
    return "" if within in STUDY_ITEMS else text(item, REFERENCED_INSTANCE)


def lists_of(item: DataSet) -> dict[int, tuple[DataSet, ...]]:
    """Return the sequences of an item whose items are references, by tag."""
    found = {}
    for tag, element in item.items():
        members = followed(element)
        if tag not in STUDY_ITEMS and any(REFERENCED_INSTANCE in member for member in members):
            found[tag] = members
    return found


def referenced(ds: DataSet, *, within: int = 0) -> Iterator[tuple[str, bool]]:
    """Yield every UID that a data set refers to, and whether it stands where a SOP Instance UID does.

    The others are Series Instance UIDs and UIDs in content items, of which nobody knows what they are of.
    """
    if not within:
        ds = apart(ds).rest
    else:
        if uid := instance_of(item=ds, within=within):
            yield uid, True
        elif (within == CONTENT_SEQUENCE and text(ds, VALUE_TYPE) == "UIDREF" and (uid := text(ds, UID_VALUE))) or (
            within not in ATTRIBUTE_ITEMS and (uid := text(ds, SERIES_INSTANCE)) and not lists_of(ds)
        ):
            yield uid, False
    for tag, element in ds.items():
        if not isinstance(element.value, bytes) or element.vr == "UN":
            for item in followed(element):
                yield from referenced(item, within=tag)
