"""Where the pixel data of a planned object come from, as segments of its recipe (PS3.5 A.4, 8.2)."""

from __future__ import annotations

import struct

from gateway.conversion.facts import NATIVE, Facts
from gateway.conversion.planned import Planned
from gateway.objects.elements import integer, tag_of
from gateway.objects.encode import SEQUENCE_STOP, element_head, item_head
from gateway.objects.part10 import PixelData
from gateway.objects.recipe import RecipeWriter, Segment

BITS_ALLOCATED = tag_of("BitsAllocated")
PIXEL_DATA = tag_of("PixelData")


def pixel_segments(planned: Planned, writer: RecipeWriter) -> list[Segment]:
    """Write the head of the pixel data element and return where its value comes from."""
    frames = planned.frames
    if frames[0].transfer_syntax in NATIVE:
        length = sum(fact.frame_length for fact in frames)
        bits = integer({BITS_ALLOCATED: planned.survey.values[BITS_ALLOCATED]}, BITS_ALLOCATED)
        vr = "OB" if bits == 8 else "OW"
        writer.write(element_head(PIXEL_DATA, vr, length + length % 2))
        segments: list[Segment] = [("f", n, _pixels(fact).offset, fact.frame_length) for n, fact in enumerate(frames)]
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


def _pixels(fact: Facts) -> PixelData:
    assert fact.pixels is not None
    return fact.pixels
