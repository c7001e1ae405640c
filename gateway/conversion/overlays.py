"""Overlays and annotations of classic images: which there are, whether they can be taken out, and their bits.

An overlay plane is Overlay Data of its own, or sits in bits of the pixel data that no pixel value uses (PS3.3 C.9.2,
PS3.5 8.1.2 and annex D). Either becomes Overlay Data of a presentation state: one bit a pixel, the first in the least
significant bit.
"""

from __future__ import annotations

from functools import lru_cache

from gateway.conversion.references import REFERENCED_INSTANCE
from gateway.errors import ConversionError
from gateway.objects.elements import DataSet, Element, integer, is_empty, items, numbers, tag_of, tag_text, text
from gateway.objects.part10 import Header
from gateway.objects.recipe import frame_bytes
from gateway.standard.presentation import OVERLAY_DEFAULTS, OVERLAY_GROUPS, OVERLAY_PLANE

ROWS, COLUMNS, TYPE, ORIGIN = 0x0010, 0x0011, 0x0040, 0x0050
BITS_ALLOCATED, BIT_POSITION, LAYER, DATA = 0x0100, 0x0102, 0x1001, 0x3000

GRAPHIC_ANNOTATION = tag_of("GraphicAnnotationSequence")
GRAPHIC_LAYER = tag_of("GraphicLayerSequence")
REFERENCED_IMAGE = tag_of("ReferencedImageSequence")

# For each bit of a byte and each place in a packed byte: a byte that has the bit becomes one with the place set.
_MOVES = [[bytes((value >> bit & 1) << place for value in range(256)) for place in range(8)] for bit in range(8)]


def overlay_groups(ds: DataSet) -> list[int]:
    """Return the groups of the overlay planes of an image; a group without any value, and one without data, is none."""
    return sorted(_groups(ds) - _void_groups(ds))


def _groups(ds: DataSet) -> set[int]:
    return {tag >> 16 for tag in _overlay_tags(tuple(ds)) if tag & 0xFFFF and not is_empty(ds[tag])}


def _void_groups(ds: DataSet) -> set[int]:
    """Return groups that describe an overlay which is not there: it would be in Overlay Data, and there are none."""
    return {
        group
        for group in _groups(ds)
        if is_empty(ds.get(group << 16 | DATA))
        and integer(ds, group << 16 | BITS_ALLOCATED, 1) == 1
        and not integer(ds, group << 16 | BIT_POSITION, 0)
    }


@lru_cache(maxsize=64)
def _overlay_tags(tags: tuple[int, ...]) -> frozenset[int]:
    """Return those of the groups of overlays."""
    return frozenset(tag for tag in tags if tag >> 24 == 0x60 and not tag >> 16 & 1)


def presentation_tags(ds: DataSet) -> set[int]:
    """Return the tags of what a presentation state takes over from an image: nothing of it stays in the image."""
    found = set(_overlay_tags(tuple(ds)))
    if found:
        void = _void_groups(ds)
        found = {tag for tag in found if tag >> 16 not in void}
    if items(ds, GRAPHIC_ANNOTATION):
        found.add(GRAPHIC_ANNOTATION)
    if found:
        found.add(GRAPHIC_LAYER)
    return found


def presentation_refusal(header: Header) -> str:
    """Return why overlays or annotations of an image cannot be moved to a presentation state, empty if they can."""
    ds = header.dataset
    if any(tag >> 24 == 0x60 and tag >> 16 & 1 for tag in ds):
        return "it has private elements in the groups of overlays"
    for group in overlay_groups(ds):
        reason = _plane_refusal(header, group)
        if reason:
            return f"its overlay {group:04X} {reason}"
    if overlay_groups(ds) and not is_empty(ds.get(tag_of("ShutterOverlayGroup"))):
        return "one of its overlays is a display shutter"
    return _annotation_refusal(ds)


def _annotation_refusal(ds: DataSet) -> str:
    for annotation in items(ds, GRAPHIC_ANNOTATION):
        if not text(annotation, "GraphicLayer"):
            return "its graphic annotations are in no layer"
        for item in items(annotation, REFERENCED_IMAGE):
            if text(item, REFERENCED_INSTANCE) != text(ds, "SOPInstanceUID"):
                return "its graphic annotations are those of another image"
    return ""


def _plane_refusal(header: Header, group: int) -> str:
    """Return what about an overlay plane cannot be carried."""
    ds = header.dataset
    if group not in OVERLAY_GROUPS:
        return "is beyond the sixteen that a presentation state can have"
    for tag, element in ds.items():
        if tag >> 16 != group or tag & 0xFFFF == 0 or is_empty(element):
            continue
        vr = OVERLAY_PLANE.get(tag & 0xFFFF)
        if vr is not None:
            if element.vr != vr and (element.vr, vr) != ("OB", "OW"):
                return f"has {tag_text(tag)} as {element.vr} instead of {vr}"
            continue
        default = OVERLAY_DEFAULTS.get(tag & 0xFFFF)
        if default is None:
            return f"has the retired element {tag_text(tag)}"
        if _value(ds, tag) != default:
            return f"has several frames or is compressed: {tag_text(tag)} is {_value(ds, tag)}"
    rows, columns = _integer(ds, group, ROWS), _integer(ds, group, COLUMNS)
    if rows <= 0 or columns <= 0:
        return "has no rows or columns"
    if text(ds, group << 16 | TYPE) not in ("G", "R"):
        return f"has the type {text(ds, group << 16 | TYPE) or 'nothing'} instead of G or R"
    if len(numbers(ds, group << 16 | ORIGIN)) != 2:
        return "has no origin"
    if not is_empty(ds.get(group << 16 | DATA)):
        return _data_refusal(ds, group, (rows * columns + 7) // 8)
    return _embedded_refusal(header, group, rows, columns)


def _value(ds: DataSet, tag: int) -> str:
    return str(integer(ds, tag)) if ds[tag].vr in ("US", "IS") else text(ds, tag)


def _integer(ds: DataSet, group: int, number: int) -> int:
    return integer(ds, group << 16 | number, 0) or 0


def _data_refusal(ds: DataSet, group: int, expected: int) -> str:
    allocated, position = integer(ds, group << 16 | BITS_ALLOCATED, 1), _integer(ds, group, BIT_POSITION)
    if (allocated, position) != (1, 0):
        return f"has data and claims to be bit {position} of {allocated}"
    value = ds[group << 16 | DATA].value
    if not isinstance(value, bytes) or len(value) not in (expected, expected + expected % 2):
        return f"has {len(value) if isinstance(value, bytes) else 'too many'} bytes of data instead of {expected}"
    return ""


def _embedded_refusal(header: Header, group: int, rows: int, columns: int) -> str:
    """Return why a plane without Overlay Data cannot be read from the pixel data."""
    ds = header.dataset
    allocated, position = _integer(ds, group, BITS_ALLOCATED), _integer(ds, group, BIT_POSITION)
    if allocated != integer(ds, "BitsAllocated") or allocated not in (8, 16) or integer(ds, "SamplesPerPixel") != 1:
        return "has no data"
    high = integer(ds, "HighBit", 0) or 0
    if not 0 <= position < allocated or high - (integer(ds, "BitsStored", 0) or 0) < position <= high:
        return f"is in bit {position}, which belongs to the pixel values"
    if (rows, columns) != (integer(ds, "Rows"), integer(ds, "Columns")):
        return "is in the pixel data and has another size"
    if header.pixels is None or header.pixels.fragments is not None:
        return "is in bits of compressed pixel data"
    if header.big_endian and allocated == 8:
        return "is in bits of big endian pixels of one byte"
    return ""


def overlay_planes(header: Header) -> DataSet:
    """Return the overlay planes of an image as those of a presentation state, Overlay Data in them.

    Parameters
    ----------
    header : Header
        Header of an image that `presentation_refusal` has no objection to.
    """
    ds = header.dataset
    found: DataSet = {}
    for group in overlay_groups(ds):
        base = group << 16
        for number, vr in OVERLAY_PLANE.items():
            element = ds.get(base | number)
            if element is not None and not is_empty(element):
                found[base | number] = element._replace(vr=vr)
        position = _integer(ds, group, BIT_POSITION)
        found[base | BITS_ALLOCATED] = Element(base | BITS_ALLOCATED, "US", b"\1\0")
        found[base | BIT_POSITION] = Element(base | BIT_POSITION, "US", b"\0\0")
        if base | DATA not in found:
            found[base | DATA] = Element(base | DATA, "OW", _even(embedded_plane(header, position)))
        else:
            found[base | DATA] = found[base | DATA]._replace(value=_even(found[base | DATA].value))
    return found


def _even(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value + bytes(len(value) % 2)


def embedded_plane(header: Header, position: int) -> bytes:
    """Return one bit of every pixel of a native image, packed.

    Raises
    ------
    ConversionError
        If the image is compressed.
    OSError
        If the file does not hold the frame.
    """
    ds, pixels = header.dataset, header.pixels
    size = (integer(ds, "BitsAllocated") or 8) // 8
    count = (integer(ds, "Rows") or 0) * (integer(ds, "Columns") or 0)
    if pixels is None or pixels.fragments is not None:
        raise ConversionError(header.path.name, "has no pixel data with an overlay in them")
    frame = frame_bytes(header.path, pixels.offset, count * size, deflated=header.deflated)
    octet = position // 8
    return packed_bit(frame[size - 1 - octet if header.big_endian else octet :: size], position % 8)


def packed_bit(octets: bytes, bit: int) -> bytes:
    """Return bit number `bit` of every byte, packed with the first in the least significant bit (PS3.5 annex D)."""
    whole = 0
    for place in range(8):
        whole |= int.from_bytes(octets[place::8].translate(_MOVES[bit][place]), "little")
    return whole.to_bytes((len(octets) + 7) // 8, "little")


def graphic_annotations(ds: DataSet) -> tuple[DataSet, ...]:
    """Return the items of Graphic Annotation Sequence without references to the image that they are in."""
    return tuple(
        {tag: element for tag, element in item.items() if tag != REFERENCED_IMAGE}
        for item in items(ds, GRAPHIC_ANNOTATION)
    )
