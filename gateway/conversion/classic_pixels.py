"""Where the pixel data of a classic image come from: one frame of an enhanced object (PS3.5 8.1.1, A.4)."""

from __future__ import annotations

from gateway.conversion.multiframe import MultiFrame
from gateway.conversion.pixels import NATIVE, described, description_of, undoing
from gateway.errors import ConversionError
from gateway.objects.elements import DataSet, tag_of
from gateway.objects.encode import SEQUENCE_STOP, element_head, item_head
from gateway.objects.part10 import DEFLATED, EXPLICIT_LITTLE
from gateway.objects.recipe import RecipeWriter, Segment, segment_length
from gateway.objects.transforms import Step

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
        self._name = header.path.name
        self._target = description_of(header)
        self._native = header.pixels is not None and header.pixels.fragments is None
        self.transfer_syntax = EXPLICIT_LITTLE if self._native else header.transfer_syntax

    def steps(self, image: DataSet) -> tuple[Step, ...]:
        """Return the transforms that give a frame the image pixel attributes of its classic image (E5 to E8).

        Raises
        ------
        ConversionError
            If no transform does.
        """
        source = described(image, self.transfer_syntax)
        target = self._target
        if source.shape != target.shape or source.signed != target.signed or source.grayscale != target.grayscale:
            raise ConversionError(self._name, "has other pixels than the image it was made of", found=source.shape)
        steps = undoing(target, source)
        bits = (source.allocated, source.stored, source.high) != (target.allocated, target.stored, target.high)
        if bits and (target.compressed or source.allocated > target.allocated):
            raise ConversionError(self._name, "has other bits than the image it was made of", found=source.allocated)
        return steps

    def segments(self, number: int, image: DataSet, writer: RecipeWriter, after: bytes) -> list[Segment]:
        """Write the head of the pixel data element and return where its value comes from.

        Parameters
        ----------
        number : int
            Number of the frame.
        image : DataSet
            Header of the classic image.
        writer : RecipeWriter
            Has the header up to the pixel data.
        after : bytes
            Encoded elements behind the pixel data.
        """
        offset, length = self._ranges[number - 1]
        steps = self.steps(image)
        segment: Segment = ("t", 0, offset, length, steps) if steps else ("f", 0, offset, length)
        if self._native:
            length = segment_length(segment)
            vr = "OB" if described(image).allocated == 8 else "OW"
            writer.write(element_head(PIXEL_DATA, vr, length + length % 2))
            rest = b"\0" * (length % 2) + after
        else:
            # One frame: the Basic Offset Table may be empty, and its fragments come as they are (PS3.5 A.4).
            writer.write(element_head(PIXEL_DATA, "OB", 0xFFFFFFFF) + item_head(0))
            rest = SEQUENCE_STOP + after
        return [segment, *([("b", rest.hex())] if rest else [])]


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
    pixels = description_of(header)
    if pixels.swapped_words and pixels.allocated != 16:
        # Frames of an odd number of bytes would begin in the middle of a word (PS3.5 8.1.1).
        raise ConversionError(header.path.name, f"big endian pixels of {pixels.allocated} bits are not turned back")
    if header.transfer_syntax not in NATIVE and header.pixels is not None and header.pixels.fragments is None:
        raise ConversionError(header.path.name, "its pixel data are not encapsulated as its transfer syntax wants")
    return FramePixels(frames)
