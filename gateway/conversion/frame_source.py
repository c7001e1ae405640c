"""A multi-frame object that frames are taken from: a file that was received, or a recipe of one that was derived."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from pathlib import Path

from gateway.conversion.frame_lists import CANNOT_EXTRACT, ExtractionError
from gateway.conversion.multiframe import PER_FRAME, MultiFrame
from gateway.errors import ConversionError, ObjectError
from gateway.objects.elements import integer
from gateway.objects.parse import Syntax, parse_dataset
from gateway.objects.part10 import EXPLICIT_LITTLE, Header, PixelData
from gateway.objects.recipe import Recipe, Segment, segment_length


class FrameSource:
    """A multi-frame object with its frames as segments of recipes.

    Attributes
    ----------
    frames : MultiFrame
        Header and functional groups.
    digest : str
        BLAKE3-128 of its data set.
    transfer_syntax : str
        Of what is made of its frames.
    sources : tuple of str
        Names of the files that the segments are in.
    """

    frames: MultiFrame
    digest: str
    transfer_syntax: str
    sources: tuple[str, ...]

    def segment(self, number: int) -> Segment:
        """Return where the pixels of a frame are, as one segment."""
        raise NotImplementedError

    @property
    def encapsulated(self) -> bool:
        """Whether frames are compressed."""
        pixels = self.frames.header.pixels
        return pixels is not None and pixels.fragments is not None


class ReceivedFrames(FrameSource):
    """A multi-frame object in a Part 10 file.

    Parameters
    ----------
    name : str
        What recipes call the file.
    path : Path
        Where it is.
    digest : str
        BLAKE3-128 of its data set.

    Raises
    ------
    ExtractionError
        If it does not hold the frames that it announces.
    """

    def __init__(self, name: str, path: Path, digest: str) -> None:
        try:
            self.frames = MultiFrame(path, grouped=False)
            self._ranges = self.frames.ranges
        except (ConversionError, ObjectError) as error:
            raise ExtractionError(CANNOT_EXTRACT, name, error.problem) from error
        self.digest = digest
        self.sources = (name,)
        header = self.frames.header
        bits = integer(header.dataset, "BitsAllocated", 0) or 0
        self._swapped = header.big_endian and not self.encapsulated
        self._deflated = header.deflated
        self.transfer_syntax = header.transfer_syntax if self.encapsulated else EXPLICIT_LITTLE
        if self._swapped and bits != 16:
            raise ExtractionError(CANNOT_EXTRACT, name, f"has big endian pixels of {bits} bits")

    def segment(self, number: int) -> Segment:
        """Return where the pixels of a frame are, as one segment."""
        offset, length = self._ranges[number - 1]
        steps = (("swap", 2),) if self._swapped else ()
        if self._deflated:
            return ("z", 0, offset, length, steps)
        return ("t", 0, offset, length, steps) if steps else ("f", 0, offset, length)


class DerivedFrames(FrameSource):
    """A multi-frame object that is a recipe.

    Parameters
    ----------
    recipe : Recipe
        The object, sealed.

    Raises
    ------
    ExtractionError
        If its segments are not its frames.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.frames = MultiFrame(recipe.path, _header_of(recipe), grouped=False)
        self.digest = recipe.digest
        self.transfer_syntax = recipe.transfer_syntax
        self.sources = recipe.sources
        self._segments = [segment for segment in recipe.segments if segment[0] not in ("h", "b")]
        if len(self._segments) != self.frames.count:
            raise ExtractionError(CANNOT_EXTRACT, recipe.sop_instance, "has no segment for every frame")

    def segment(self, number: int) -> Segment:
        """Return where the pixels of a frame are, as one segment."""
        return self._segments[number - 1]


def _header_of(recipe: Recipe) -> Header:
    """Return the header of a recipe's object, per-frame groups left in the recipe file."""
    syntax = Syntax(left=frozenset((PER_FRAME,)))
    with open(recipe.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        elements, position = parse_dataset(buffer, 0, recipe.header_length, syntax, stop_at_pixels=True)
        head = bytes(buffer[position : position + 12])
    length = recipe.length - recipe.header_length
    undefined = struct.unpack("<I", head[8:12])[0] == 0xFFFFFFFF
    pixels = PixelData(0x7FE00010, head[4:6].decode("latin-1"), position + 12, length, () if undefined else None)
    return Header(recipe.path, recipe.length, recipe.transfer_syntax, 0, elements, pixels, {}, False, False)


def rearranged(source: FrameSource, numbers: list[int]) -> tuple[list[str], list[Segment]]:
    """Return names of files and segments for some frames of an object, no file named that is not needed."""
    names: dict[str, int] = {}
    segments: list[Segment] = []
    for number in numbers:
        kind, file, *rest = source.segment(number)
        place = names.setdefault(source.sources[file], len(names))
        segments.append((kind, place, *rest))
    return list(names), segments


Locate = Callable[[str], Path]


def total_length(segments: list[Segment]) -> int:
    """Return the number of bytes of some segments."""
    return sum(map(segment_length, segments))
