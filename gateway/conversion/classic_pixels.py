"""Where the pixel data of a classic image come from: one frame of an enhanced object (PS3.5 8.1.1, A.4)."""

from __future__ import annotations

from gateway.conversion.facts import NATIVE
from gateway.conversion.multiframe import MultiFrame
from gateway.errors import ConversionError
from gateway.objects.elements import integer, tag_of
from gateway.objects.encode import SEQUENCE_STOP, element_head, item_head
from gateway.objects.part10 import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE
from gateway.objects.recipe import RecipeWriter, Segment

PIXEL_DATA = tag_of("PixelData")


class FramePixels:
    """How frames of one object are passed on.

    Attributes
    ----------
    transfer_syntax : str
        That of the classic images.
    """

    def __init__(self, frames: MultiFrame) -> None:
        header = frames.header
        self._ranges = frames.ranges
        self._bytes = integer(header.dataset, "BitsAllocated") == 8
        self._native = header.pixels is not None and header.pixels.fragments is None
        self.transfer_syntax = EXPLICIT_LITTLE if self._native else header.transfer_syntax

    def segments(self, number: int, writer: RecipeWriter, after: bytes) -> list[Segment]:
        """Write the head of the pixel data element and return where its value comes from.

        Parameters
        ----------
        number : int
            Number of the frame.
        writer : RecipeWriter
            Has the header up to the pixel data.
        after : bytes
            Encoded elements behind the pixel data.
        """
        offset, length = self._ranges[number - 1]
        if self._native:
            writer.write(element_head(PIXEL_DATA, "OB" if self._bytes else "OW", length + length % 2))
            rest = b"\0" * (length % 2) + after
        else:
            # One frame: the Basic Offset Table may be empty, and its fragments come as they are (PS3.5 A.4).
            writer.write(element_head(PIXEL_DATA, "OB", 0xFFFFFFFF) + item_head(0))
            rest = SEQUENCE_STOP + after
        return [("f", 0, offset, length), *([("b", rest.hex())] if rest else [])]


def pixel_plan(frames: MultiFrame) -> FramePixels:
    """Return how the frames of an object are passed on.

    Raises
    ------
    ConversionError
        If they cannot be.
    """
    header = frames.header
    if header.transfer_syntax == DEFLATED or header.deflated:
        raise ConversionError(header.path.name, "a deflated object is not turned back yet")
    if header.transfer_syntax == EXPLICIT_BIG or header.big_endian:
        raise ConversionError(header.path.name, "a big endian object is not turned back yet")
    if header.transfer_syntax not in NATIVE and header.pixels is not None and header.pixels.fragments is None:
        raise ConversionError(header.path.name, "its pixel data are not encapsulated as its transfer syntax wants")
    return FramePixels(frames)
