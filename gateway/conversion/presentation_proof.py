"""The proof of presentation states: every overlay and annotation of every source is in the bytes that will be sent.

The stream is parsed again and compared with a fresh reading of each source file. Planes that were bits of the pixel
data are compared the other way round than they were made: the state's bits are unpacked, one to a pixel.
"""

from __future__ import annotations

from gateway.conversion.facts import Facts
from gateway.conversion.groups import RESCALE
from gateway.conversion.looks import Look, transformation
from gateway.conversion.overlays import (
    BIT_POSITION,
    BITS_ALLOCATED,
    COLUMNS,
    DATA,
    GRAPHIC_ANNOTATION,
    GRAPHIC_LAYER,
    LAYER,
    REFERENCED_IMAGE,
    ROWS,
    overlay_groups,
)
from gateway.conversion.planned import Planned
from gateway.errors import ConversionError, ObjectError
from gateway.objects.elements import DataSet, integer, is_empty, items, numbers, same, tag_of, tag_text, text
from gateway.objects.encode import encode
from gateway.objects.parse import Syntax, parse_dataset
from gateway.objects.part10 import Header, read_header
from gateway.objects.recipe import Recipe, digest_of, frame_bytes
from gateway.objects.stream import BytesSource
from gateway.standard.presentation import OVERLAY_DEFAULTS

# The eight bits of every byte, the least significant one first, a byte each.
_BITS = [bytes(value >> place & 1 for place in range(8)) for value in range(256)]
_BIT_OF = [bytes(value >> bit & 1 for value in range(256)) for bit in range(8)]


def prove_state(recipe: Recipe, planned: Planned, look: Look) -> str:
    """Check a state against the sources of the frames it refers to.

    Parameters
    ----------
    recipe : Recipe
        The state to check.
    planned : Planned
        The image it belongs to.
    look : Look
        What it is for.

    Returns
    -------
    str
        BLAKE3-128 of the stream, in hexadecimal.

    Raises
    ------
    ConversionError
        If an overlay, an annotation or an attribute of them is missing or different, or it shows other frames.
    """
    source = recipe.source(lambda name: recipe.path)
    stream = b"".join(source.chunks())
    if len(stream) != recipe.length:
        raise ConversionError(recipe.sop_instance, "has another length than announced", found=len(stream))
    try:
        state, _ = parse_dataset(stream, 0, len(stream), Syntax())
        _check_references(state, planned, look)
        windows = _windows(state, look)
        for number in look.frames:
            header = _fresh(planned.frames[number - 1])
            where = f"{recipe.sop_instance} frame {number}"
            _check_planes(where, state, header)
            _check_annotations(where, state, header.dataset)
            if not look.color:
                _check_transformation(where, state, windows.get(number, {}), header.dataset, planned)
    except (ObjectError, OSError, ValueError, IndexError) as error:
        raise ConversionError(recipe.sop_instance, f"cannot be read back: {error}") from error
    return digest_of(BytesSource(stream))


def _check_references(state: DataSet, planned: Planned, look: Look) -> None:
    """Check that the state refers to the frames of its sources and that it names these."""
    where = text(state, "SOPInstanceUID")
    found: list[int] = []
    for series in items(state, "ReferencedSeriesSequence"):
        for item in items(series, REFERENCED_IMAGE):
            target = (text(series, "SeriesInstanceUID"), text(item, "ReferencedSOPInstanceUID"))
            if target != (planned.series, planned.sop_instance):
                raise ConversionError(where, "refers to another image", found=target)
            found += map(int, numbers(item, "ReferencedFrameNumber"))
    if (found or list(range(1, len(planned.frames) + 1))) != look.frames:
        raise ConversionError(where, "refers to other frames", found=found[:20], expected=str(look.frames[:20]))
    sources = [text(item, "ReferencedSOPInstanceUID") for item in items(state, "ConversionSourceAttributesSequence")]
    if sources != [planned.frames[number - 1].sop_instance for number in look.frames]:
        raise ConversionError(where, "names other sources")


def _fresh(fact: Facts) -> Header:
    header = read_header(fact.path)
    if header.sop_instance != fact.sop_instance:
        raise ConversionError(fact.name, "is another image now", found=header.sop_instance, expected=fact.sop_instance)
    return header


def _check_transformation(where: str, state: DataSet, window: DataSet, ds: DataSet, planned: Planned) -> None:
    """Compare Modality LUT and window with those of the frame."""
    expected_rescale, expected_window = transformation(ds, planned.statements, legacy=planned.survey.legacy)
    found = {tag: state[tag] for tag in map(tag_of, RESCALE) if tag in state}
    if encode(found) != encode(expected_rescale):
        raise ConversionError(where, "has another rescaling than its frame", found=text(state, "RescaleSlope"))
    if encode(window) != encode(expected_window):
        raise ConversionError(where, "has another window than its frame", found=text(window, "WindowCenter"))


def _windows(state: DataSet, look: Look) -> dict[int, DataSet]:
    """Return the windows by number of frame."""
    found: dict[int, DataSet] = {}
    for item in items(state, "SoftcopyVOILUTSequence"):
        window = {tag: element for tag, element in item.items() if tag != REFERENCED_IMAGE}
        numbered = [int(n) for one in items(item, REFERENCED_IMAGE) for n in numbers(one, "ReferencedFrameNumber")]
        found.update(dict.fromkeys(numbered or look.frames, window))
    return found


def _check_planes(where: str, state: DataSet, header: Header) -> None:
    """Check that the state has the overlay planes of a source and no other."""
    groups = overlay_groups(header.dataset)
    if overlay_groups(state) != groups:
        raise ConversionError(where, "has other overlays", found=overlay_groups(state))
    for group in groups:
        _check_plane(where, state, header, group)


def _check_plane(where: str, state: DataSet, header: Header, group: int) -> None:
    """Find every element of an overlay plane again."""
    ds, base = header.dataset, group << 16
    for tag, element in ds.items():
        if tag >> 16 != group or is_empty(element) or not tag & 0xFFFF:
            continue
        if tag & 0xFFFF in OVERLAY_DEFAULTS or tag & 0xFFFF in (BITS_ALLOCATED, BIT_POSITION, DATA):
            continue  # absence means the same; the planes of a state are data always
        other = state.get(tag)
        if other is None or not same(element._replace(vr=other.vr), other):
            raise ConversionError(where, f"{tag_text(tag)} cannot be got back", found=other and other.value)
    if (integer(state, base | BITS_ALLOCATED), integer(state, base | BIT_POSITION)) != (1, 0):
        raise ConversionError(where, f"overlay {group:04X} is not one bit a pixel")
    if text(state, base | LAYER) not in {text(item, "GraphicLayer") for item in items(state, GRAPHIC_LAYER)}:
        raise ConversionError(where, f"overlay {group:04X} is in no layer", found=text(state, base | LAYER))
    if not _same_plane(state[base | DATA].value, header, group):
        raise ConversionError(where, f"overlay {group:04X} has other bits than its source")


def _same_plane(packed: object, header: Header, group: int) -> bool:
    """Compare Overlay Data with the plane of a source, wherever that has it."""
    ds = header.dataset
    assert isinstance(packed, bytes)
    data = ds.get(group << 16 | DATA)
    if data is not None and not is_empty(data):
        assert isinstance(data.value, bytes)
        return packed == data.value + bytes(len(data.value) % 2)
    assert header.pixels is not None
    position, size = integer(ds, group << 16 | BIT_POSITION, 0) or 0, (integer(ds, "BitsAllocated") or 8) // 8
    count = (integer(ds, group << 16 | ROWS) or 0) * (integer(ds, group << 16 | COLUMNS) or 0)
    frame = frame_bytes(header.path, header.pixels.offset, count * size, deflated=header.deflated)
    if header.big_endian and size == 2:
        position = position + 8 if position < 8 else position - 8
    bits = b"".join(map(_BITS.__getitem__, packed))
    return bits[:count] == frame[position // 8 :: size].translate(_BIT_OF[position % 8])


def _check_annotations(where: str, state: DataSet, ds: DataSet) -> None:
    """Find graphic annotations and layers again; what an annotation referred to is the image that it was in."""
    found = items(state, GRAPHIC_ANNOTATION)
    if len(found) != len(items(ds, GRAPHIC_ANNOTATION)):
        raise ConversionError(where, "has another number of graphic annotations", found=len(found))
    for one, other in zip(items(ds, GRAPHIC_ANNOTATION), found, strict=True):
        if encode({tag: element for tag, element in one.items() if tag != REFERENCED_IMAGE}) != encode(other):
            raise ConversionError(where, "has another graphic annotation than its source")
    layers = [encode(item) for item in items(state, GRAPHIC_LAYER)]
    if not layers and not overlay_groups(ds):
        return
    for item in items(ds, GRAPHIC_LAYER):
        if encode(item) not in layers:
            raise ConversionError(where, "lacks a graphic layer of its source", found=text(item, "GraphicLayer"))
