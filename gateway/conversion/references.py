"""References from object to object: finding them, and pointing them at what their targets have become (PS3.4 C.3.5).

A reference is an item with Referenced SOP Instance UID (PS3.3 table 10-11), at any depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gateway.objects.elements import DataSet, Element, dataset, is_private, make, tag_of, text

REFERENCED_CLASS = tag_of("ReferencedSOPClassUID")
REFERENCED_INSTANCE = tag_of("ReferencedSOPInstanceUID")
REFERENCED_FRAME = tag_of("ReferencedFrameNumber")

# References to what an object was converted from belong to the other view and are never rewritten (C.3.5 note 3).
CONVERSION_SOURCE = tag_of("ConversionSourceAttributesSequence")

# Sequences of plain image references at the top level of a classic image: their items name class and instance only.
IMAGE_REFERENCES = (tag_of("ReferencedImageSequence"), tag_of("SourceImageSequence"))


class Target(NamedTuple):
    """What a classic instance has become."""

    sop_class: str
    sop_instance: str
    series: str
    study: str
    frame: int


def referenced(ds: DataSet, *, within: int | None = None) -> Iterator[tuple[str, bool]]:
    """Yield every Referenced SOP Instance UID and whether it is a plain image reference.

    Private sequences are not followed: nobody knows what their UIDs mean.
    """
    for tag, element in ds.items():
        if isinstance(element.value, bytes):
            if tag == REFERENCED_INSTANCE:
                yield text(ds, tag), within in IMAGE_REFERENCES
            continue
        if tag == CONVERSION_SOURCE or is_private(tag) or not isinstance(element.value, tuple):
            continue
        inside = tag if within is None else -1
        for item in element.value:
            yield from referenced(item, within=inside)


def rewritten(element: Element, targets: Mapping[str, Target]) -> Element:
    """Return a sequence of plain image references with every converted target replaced.

    Parameters
    ----------
    element : Element
        Referenced Image Sequence or Source Image Sequence.
    targets : mapping of str to Target
        By source SOP Instance UID.
    """
    if not isinstance(element.value, tuple):
        return element
    return element._replace(value=tuple(_rewritten_item(item, targets) for item in element.value))


def _rewritten_item(item: DataSet, targets: Mapping[str, Target]) -> DataSet:
    target = targets.get(text(item, REFERENCED_INSTANCE))
    if target is None:
        return item
    return dataset(
        *(part for tag, part in item.items() if tag not in (REFERENCED_CLASS, REFERENCED_INSTANCE, REFERENCED_FRAME)),
        make("ReferencedSOPClassUID", target.sop_class),
        make("ReferencedSOPInstanceUID", target.sop_instance),
        make("ReferencedFrameNumber", target.frame),
    )
