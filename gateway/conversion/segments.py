"""Where the pixel data of a planned object come from, as segments of its recipe (PS3.5 A.4, 8.2)."""

from __future__ import annotations

import struct

from gateway.conversion.facts import Facts
from gateway.conversion.pixels import PixelPlan
from gateway.conversion.planned import Planned
from gateway.objects.elements import tag_of
from gateway.objects.encode import SEQUENCE_STOP, element_head, item_head
from gateway.objects.part10 import DEFLATED, PixelData
from gateway.objects.recipe import RecipeWriter, Segment, segment_length

PIXEL_DATA = tag_of("PixelData")


def pixel_segments(planned: Planned, writer: RecipeWriter) -> list[Segment]:
    """Write the head of the pixel data element and return where its value comes from."""
    frames, pixels = planned.frames, planned.pixels
    segments: list[Segment]
    if not pixels.target.compressed:
        segments = [_native(number, fact, pixels) for number, fact in enumerate(frames)]
        length = sum(map(segment_length, segments))
        vr = "OB" if pixels.target.allocated == 8 else "OW"
        writer.write(element_head(PIXEL_DATA, vr, length + length % 2))
        return [*segments, ("b", "00")] if length % 2 else segments
    # Encapsulated: the Basic Offset Table says where frames begin, as they may have several fragments (PS3.5 A.4).
    offsets, position, segments = [], 0, []
    for n, fact in enumerate(frames):
        first, last = _pixels(fact).fragments[0], _pixels(fact).fragments[-1]  # type: ignore[index]
        begin, end = first[0] - 8, last[0] + last[1]
        offsets.append(position)
        position += end - begin
        segments.append(("f", n, begin, end - begin))
    writer.write(element_head(PIXEL_DATA, "OB", 0xFFFFFFFF))
    writer.write(item_head(4 * len(offsets)) + struct.pack(f"<{len(offsets)}I", *offsets))
    return [*segments, ("b", SEQUENCE_STOP.hex())]


def _native(number: int, fact: Facts, pixels: PixelPlan) -> Segment:
    """Return where a native frame comes from: as it is wherever that will do."""
    steps = pixels.steps(fact.description)
    offset, length = _pixels(fact).offset, fact.description.length_read
    if fact.transfer_syntax == DEFLATED:
        return "z", number, offset, length, steps
    return ("t", number, offset, length, steps) if steps else ("f", number, offset, length)


def _pixels(fact: Facts) -> PixelData:
    assert fact.pixels is not None
    return fact.pixels
