"""A multi-frame file as conversion reads it: what all frames share, and the groups of one frame at a time.

The Per-Frame Functional Groups Sequence of a long object is most of its header; it stays in its file, and only where
each frame's item stands is remembered.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from gateway.conversion.frames import frame_ranges
from gateway.errors import ConversionError, ObjectError
from gateway.objects.elements import DataSet, Span, integer, items, tag_of
from gateway.objects.parse import Syntax, item_ranges, parse_dataset
from gateway.objects.part10 import Header, read_header

PER_FRAME = tag_of("PerFrameFunctionalGroupsSequence")
SHARED = tag_of("SharedFunctionalGroupsSequence")


class MultiFrame:
    """A multi-frame object in a file.

    Parameters
    ----------
    path : Path
        The file.
    header : Header, optional
        Its header, read with `PER_FRAME` left in the file, where it is not that of a Part 10 file.
    grouped : bool
        Whether it must have a functional groups item for every frame.

    Attributes
    ----------
    header : Header
        Its header, the per-frame groups left in the file.
    top : DataSet
        The top level without the functional groups.
    shared : DataSet
        The item of the Shared Functional Groups Sequence.
    has_groups : bool
        Whether it has functional groups.

    Raises
    ------
    ConversionError
        If frames and groups do not go together.
    """

    def __init__(self, path: Path, header: Header | None = None, *, grouped: bool = True) -> None:
        self.header = header or read_header(path, left=frozenset((PER_FRAME,)))
        found = self.header.dataset
        self.top: DataSet = {tag: element for tag, element in found.items() if tag not in (PER_FRAME, SHARED)}
        self.shared: DataSet = (items(found, SHARED) or ({},))[0]
        self.count = integer(found, "NumberOfFrames", 1) or 1
        self._held = items(found, PER_FRAME)
        self._places = array("Q")
        self._find_items()
        groups = len(self._held) or len(self._places) // 2
        self.has_groups = PER_FRAME in found
        if groups != self.count and (grouped or self.has_groups):
            raise ConversionError(path.name, "has not one group item a frame", found=groups, expected=str(self.count))

    @cached_property
    def ranges(self) -> list[tuple[int, int]]:
        """File offset and length of the pixels of every frame.

        Raises
        ------
        ConversionError
            If the pixel data do not hold the frames.
        """
        return frame_ranges(self.header)

    @property
    def path(self) -> Path:
        """The file."""
        return self.header.path

    def _syntax(self) -> Syntax:
        header = self.header
        signed = integer(header.dataset, "PixelRepresentation") == 1
        return Syntax(header.implicit, header.big_endian, signed=signed)

    def _find_items(self) -> None:
        element = self.header.dataset.get(PER_FRAME)
        if element is None or not isinstance(element.value, Span):
            return
        start, stop = element.value.offset, element.value.offset + element.value.length
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            for offset, length, _ in item_ranges(buffer, start, stop, self._syntax()):
                self._places.extend((offset, length))

    def frame(self, number: int) -> DataSet:
        """Return the groups of a frame, the first being number 1."""
        if self._held:
            return self._held[number - 1]
        offset, length = self._places[2 * number - 2], self._places[2 * number - 1]
        with open(self.path, "rb", buffering=0) as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) != length:
            raise ObjectError(self.path.name, "has become shorter")
        return parse_dataset(data, 0, length, self._syntax())[0]

    def frames(self) -> Iterator[DataSet]:
        """Yield the groups of every frame, one at a time."""
        for number in range(1, self.count + 1):
            yield self.frame(number)
