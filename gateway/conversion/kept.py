"""Items of the unassigned attributes: what a source says and no other place of the object has (PS3.3 C.7.6.16.2.FG).

Web viewers lay the items of functional groups over the object. So nothing stands there that would then pass for the
object's own identity or pixels: no UID, nothing of `PIXELS`, nothing about values that are inverted now, and no empty
value, which says that the source had none where the object has one (E52). What the way back needs of them is in a
private element, as a data set of its own. What the top level says for the multi-frame object as every source says it
for itself is named in another one, and not said twice (E49).
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable

from gateway.conversion.keys import Key, keyed, placed
from gateway.conversion.private_block import LAST_BLOCK, SAID, SAID_AT_TOP, element_of, key_of
from gateway.errors import ConversionError, ObjectError
from gateway.objects.elements import DataSet, Element, is_empty, is_private, items, standard_vr, tag_of, tag_text
from gateway.objects.encode import encode
from gateway.objects.parse import Syntax, parse_dataset

SHARED, PER_FRAME = "UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence"

# Attributes of the Image Pixel and Multi-frame modules that say how to read the object's pixels (C.7.6.3, C.7.6.6).
PIXELS = frozenset(
    tag_of(keyword)
    for keyword in (
        "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
        "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
    )
)  # fmt: skip

# Even groups from 6000 to 60FF (C.9.2).
_OVERLAYS = 0x60

_SAID, _AT_TOP = key_of(SAID), key_of(SAID_AT_TOP)


def passes_for_the_object(element: Element) -> bool:
    """Tell whether an element of a functional group would pass for one of the object: a UID, or one of `PIXELS`.

    So would the description of an overlay that has no data (E25).
    """
    tag = element.tag
    if is_private(tag):
        return False
    return tag in PIXELS or tag >> 24 == _OVERLAYS or "UI" in (element.vr, standard_vr(tag))


def unassigned(
    elements: Iterable[tuple[Key, Element]], at_top: Iterable[int] = (), hidden: Container[Key] = ()
) -> DataSet:
    """Return the item of an unassigned attributes sequence.

    Parameters
    ----------
    elements : iterable of (Key, Element)
        What the source says.
    at_top : iterable of int
        Tags of the top level whose values are those of every source.
    hidden : container of Key
        What is to be in the private element whatever it is.
    """
    plain: list[tuple[Key, Element]] = []
    apart: list[tuple[Key, Element]] = []
    for key, element in elements:
        # A source may have elements of the block itself.
        out = key in hidden or key in (_SAID, _AT_TOP) or is_empty(element) or passes_for_the_object(element)
        (apart if out else plain).append((key, element))
    if apart:
        plain.append((_SAID, element_of(SAID, encode(placed(apart)), block=LAST_BLOCK)))
    tags = b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in sorted(at_top))
    if tags:
        plain.append((_AT_TOP, element_of(SAID_AT_TOP, tags, block=LAST_BLOCK)))
    return placed(plain)


def said(groups: DataSet, keyword: str, top: DataSet) -> dict[Key, Element]:
    """Return what the unassigned attributes of functional groups say, wherever it stands.

    Parameters
    ----------
    groups : DataSet
        Item of the shared or per-frame functional groups.
    keyword : str
        `SHARED` or `PER_FRAME`.
    top : DataSet
        The top level.
    """
    found: dict[Key, Element] = {}
    for item in items(groups, keyword):
        for key, element in keyed(item):
            if key == _SAID:
                found.update(_unpacked(element))
            elif key == _AT_TOP:
                found.update({tag: top[tag] for tag in _tags(element) if tag in top})
            else:
                found[key] = element
    return found


def _unpacked(element: Element) -> dict[Key, Element]:
    value = element.value
    try:
        if not isinstance(value, bytes):
            raise ObjectError(tag_text(element.tag), "has items instead of bytes")
        return dict(keyed(parse_dataset(value, 0, len(value), Syntax())[0]))
    except (ObjectError, struct.error, ValueError, IndexError) as error:
        raise ConversionError(
            f"{tag_text(element.tag)} Attributes of the Source", f"is no data set: {error}"
        ) from error


def _tags(element: Element) -> list[int]:
    value = element.value if isinstance(element.value, bytes) else b""
    return [group << 16 | number for group, number in struct.iter_unpack("<HH", value[: len(value) // 4 * 4])]
