"""Headers of files that are much alike: thousands of slices of a series differ in a dozen elements.

A `HeaderReader` gives exactly what `gateway.objects.part10.read_header` gives. It remembers how the files before were
laid out: runs of elements whose bytes are the same again are compared as bytes and not taken apart, and the elements
of all these headers are the same objects, so that whoever compares values is done with them at once.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gateway.errors import ObjectError
from gateway.objects.elements import LONG_VRS, DataSet, Element, is_private
from gateway.objects.parse import (
    PIXEL_REPRESENTATION,
    PIXEL_TAGS,
    SIGNED,
    UNDEFINED,
    Syntax,
    element_head_at,
    end_of_items,
    parse_dataset,
)
from gateway.objects.part10 import PREAMBLE, Header, PixelData, pixel_data_at, read_header

# Layouts that are remembered, headers that may show one, and the longest header that is remembered.
_LAYOUTS = 4
_SEEN = 8
_LONGEST = 1 << 20

_TRANSFER_SYNTAX = 0x00020010

_SHORT_LENGTH = struct.Struct("<H").unpack_from
_LONG_LENGTH = struct.Struct("<I").unpack_from


class _Unlike(Exception):
    """A file is laid out in another way than those before it."""


class _Piece(NamedTuple):
    """The bytes of one element and what they mean.

    Attributes
    ----------
    encoded : bytes
        Head and value.
    element : Element or None
        None for group lengths, and for what stands before the first element.
    head : int
        How many of the bytes say which element it is; 0 if it must not differ at all.
    length_size : int
        Bytes of the length that follows.
    """

    encoded: bytes
    element: Element | None
    head: int = 0
    length_size: int = 0

    def again(self, data: bytes, position: int, syntax: Syntax) -> _Piece:
        """Return this element as another file has it, with another value."""
        if not self.head or not data.startswith(self.encoded[: self.head], position):
            raise _Unlike
        at = position + self.head
        start = at + self.length_size
        length = (_SHORT_LENGTH(data, at) if self.length_size == 2 else _LONG_LENGTH(data, start - 4))[0]
        element = self.element
        if element is not None and isinstance(element.value, tuple):
            return self._sequence(data, position, start, length, syntax)
        stop = start + length
        if length & 1 or stop > len(data):
            raise _Unlike
        if element is not None:
            element = Element(element.tag, element.vr, data[start:stop])
        return _Piece(data[position:stop], element, self.head, self.length_size)

    def _sequence(self, data: bytes, position: int, start: int, length: int, syntax: Syntax) -> _Piece:
        """Return a sequence; what it holds is not remembered."""
        assert self.element is not None
        if syntax.implicit and is_private(self.element.tag):
            raise _Unlike  # whether it is a sequence is for its creator to say
        stop = end_of_items(data, start, len(data), length, _inside(self.encoded, syntax))
        if stop > len(data):
            raise _Unlike
        again = Syntax(syntax.implicit, signed=syntax.signed)
        element = parse_dataset(data, position, stop, again)[0][self.element.tag]
        if again.irregular or not isinstance(element.value, tuple):
            raise _Unlike
        return _Piece(data[position:stop], element, self.head, self.length_size)


def _inside(head: bytes, syntax: Syntax) -> Syntax:
    """Return the syntax of the items of a sequence (PS3.5 6.2.2 note)."""
    return Syntax(True) if not syntax.implicit and head[4:6] == b"UN" else syntax


class _Run(NamedTuple):
    """Elements that follow each other and have not differed so far; one alone may differ from file to file."""

    encoded: bytes
    elements: DataSet
    pieces: tuple[_Piece, ...]

    @classmethod
    def of(cls, *pieces: _Piece) -> _Run:
        elements = {piece.element.tag: piece.element for piece in pieces if piece.element is not None}
        return cls(b"".join(piece.encoded for piece in pieces), elements, pieces)

    def split(self, data: bytes, position: int, syntax: Syntax) -> Iterator[_Run]:
        """Yield runs that the bytes from `position` on consist of, where they are not those of this run."""
        same = 0
        for number, piece in enumerate(self.pieces):
            if data.startswith(piece.encoded, position):
                position += len(piece.encoded)
                continue
            if same < number:
                yield _Run.of(*self.pieces[same:number])
            same = number + 1
            other = piece.again(data, position, syntax)
            position += len(other.encoded)
            element = other.element
            yield _Run(other.encoded, {} if element is None else {element.tag: element}, (other,))
        if same < len(self.pieces):
            yield _Run.of(*self.pieces[same:])


@dataclass
class _Layout:
    """How some files are laid out.

    Attributes
    ----------
    meta, runs : list of _Run
        What stands before the data set, and its elements up to the pixel data.
    pixel_head : bytes
        Tag, VR and length of those.
    """

    transfer_syntax: str
    implicit: bool
    signed: bool
    prefixed: bool
    meta: list[_Run]
    runs: list[_Run]
    pixels: PixelData
    pixel_head: bytes

    def header(self, path: Path, data: bytes, size: int, file: int) -> Header:
        """Return the header of a file that begins with `data`."""
        if (data[128:132] == b"DICM") != self.prefixed:
            raise _Unlike
        syntax = Syntax(self.implicit, signed=self.signed)
        meta_runs, meta, offset = _matched(self.meta, data, 0, Syntax())
        runs, elements, position = _matched(self.runs, data, offset, syntax)
        if not data.startswith(self.pixel_head, position):
            raise _Unlike
        pixels, stop = self._pixels(position, size, file)
        if stop > size:
            raise _Unlike
        if stop < size:
            behind = Syntax(self.implicit, signed=self.signed)
            rest = os.pread(file, min(size - stop, _LONGEST), stop)
            if len(rest) != size - stop:
                raise _Unlike
            elements.update(parse_dataset(rest, 0, len(rest), behind)[0])
            if behind.irregular:
                raise _Unlike
        self.meta, self.runs = meta_runs, runs
        return Header(path, size, self.transfer_syntax, offset, elements, pixels, meta, self.implicit, False)

    def _pixels(self, position: int, size: int, file: int) -> tuple[PixelData, int]:
        """Return where the pixel data are and where they end."""
        if self.pixels.fragments is None:
            offset = position + len(self.pixel_head)
            return PixelData(self.pixels.tag, self.pixels.vr, offset, self.pixels.length), offset + self.pixels.length
        syntax = Syntax(self.implicit)
        with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as buffer:
            found = pixel_data_at(buffer, position, size, syntax)
        if syntax.irregular:
            raise _Unlike
        return found


def _matched(runs: list[_Run], data: bytes, position: int, syntax: Syntax) -> tuple[list[_Run], DataSet, int]:
    """Return the runs that a file has there, their elements, and where they end."""
    elements: DataSet = {}
    found: list[_Run] = []
    for run in runs:
        encoded = run[0]
        if data.startswith(encoded, position):
            found.append(run)
            elements.update(run[1])
            position += len(encoded)
            continue
        for part in run.split(data, position, syntax):
            found.append(part)
            elements.update(part[1])
            position += len(part[0])
    return found, elements, position


class HeaderReader:
    """Reads headers of files, one after the other; for one thread."""

    def __init__(self) -> None:
        self._layouts: list[_Layout] = []
        self._seen: dict[tuple[int, ...], DataSet] = {}
        self._wanted = 4096

    def __call__(self, path: Path) -> Header:
        """Return everything of a DICOM file but its pixel data.

        Raises
        ------
        ObjectError
            As `read_header` does.
        """
        if self._layouts:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                header = self._like_before(path, file)
            finally:
                os.close(file)
            if header is not None:
                return header
        header = read_header(path)
        self._learn(header)
        return header

    def _like_before(self, path: Path, file: int) -> Header | None:
        size = os.fstat(file).st_size
        data = os.pread(file, self._wanted, 0)
        for number, layout in enumerate(self._layouts):
            try:
                header = layout.header(path, data, size, file)
            except (_Unlike, ObjectError, struct.error, LookupError):
                continue
            if number:
                self._layouts.insert(0, self._layouts.pop(number))
            return header
        return None

    def _learn(self, header: Header) -> None:
        """Remember how a file is laid out once a second one has the same elements."""
        tags = tuple(header.dataset)
        before = self._seen.get(tags)
        if before is None:
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            self._seen[tags] = header.dataset
            return
        for tag, element in before.items():
            if header.dataset[tag] == element:
                header.dataset[tag] = element
        layout = _layout_of(header)
        if layout is not None:
            length = sum(len(run.encoded) for run in (*layout.meta, *layout.runs))
            self._wanted = max(self._wanted, length + length // 4 + 1024)
            self._layouts = [layout, *self._layouts[: _LAYOUTS - 1]]


def _layout_of(header: Header) -> _Layout | None:
    """Return how a file is laid out, None if that is not worth remembering."""
    pixels = header.pixels
    if header.irregular or header.big_endian or header.deflated or pixels is None or pixels.offset > _LONGEST:
        return None
    with open(header.path, "rb") as file:
        data = file.read(pixels.offset)
    head_length = 8 if header.implicit else 12
    stop = pixels.offset - head_length
    prefix = len(PREAMBLE) if data[128:132] == b"DICM" else 0
    meta = [_Piece(data[:prefix], None), *_pieces(data, prefix, header.dataset_offset, Syntax(), header.meta)]
    pieces = list(_pieces(data, header.dataset_offset, stop, Syntax(header.implicit), header.dataset))
    if sum(len(piece.encoded) for piece in (*meta, *pieces)) != stop:
        return None
    signed = header.dataset.get(PIXEL_REPRESENTATION)
    return _Layout(
        header.transfer_syntax,
        header.implicit,
        signed is not None and signed.value == SIGNED,
        bool(prefix),
        [_Run.of(*meta)],
        [_Run.of(*pieces)],
        pixels,
        data[stop:],
    )


def _pieces(data: bytes, position: int, end: int, syntax: Syntax, elements: DataSet) -> Iterator[_Piece]:
    """Yield the elements between two offsets, of which `elements` are the values."""
    while position < end:
        group, number = syntax.tag(data, position)
        tag = group << 16 | number
        assert tag not in PIXEL_TAGS
        vr, length, start = element_head_at(data, position, end, tag, syntax, elements)
        inner = _inside(data[position : position + 6], syntax)
        stop = start + length if length != UNDEFINED else end_of_items(data, start, end, length, inner)
        encoded = data[position:stop]
        position = stop
        element = elements.get(tag) if number or group == 2 else None
        if tag in (PIXEL_REPRESENTATION, _TRANSFER_SYNTAX) or (group & 1 and 0x10 <= number <= 0xFF):
            yield _Piece(encoded, element)  # on which the meaning of others depends
        elif syntax.implicit:
            yield _Piece(encoded, element, 4, 4)
        else:
            yield _Piece(encoded, element, 6, 6 if vr in LONG_VRS else 2)
