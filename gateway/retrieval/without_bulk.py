"""Instances without pixel data and other bulk data (PS3.4 Annex Z): all other attributes with the bytes they came with.

The stored bytes are read as a stream and copied element by element; what is left out is never held in memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from gateway.archive.rows import InstanceRow
from gateway.errors import ObjectError
from gateway.objects.elements import LONG_VRS
from gateway.objects.encode import encode
from gateway.objects.parse import ITEM, ITEM_END, SEQUENCE_END, UNDEFINED, Syntax, parse_dataset
from gateway.objects.part10 import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from gateway.objects.reencode import LONGEST_HEADER, reencode
from gateway.objects.stream import ByteSource, BytesSource
from gateway.retrieval.rendition import Rendition, Sources
from gateway.standard.bulk_data import LONGEST_PRIVATE, WAVEFORM_DATA, WAVEFORM_SEQUENCE, is_bulk_data

_LONG = frozenset(vr.encode() for vr in LONG_VRS)


class WithoutBulkData(Rendition):
    """Instances without what PS3.4 Z.1.3 names."""

    def syntaxes(self, row: InstanceRow) -> tuple[str, ...]:
        """Return the transfer syntaxes `row` can be sent in: without pixels, compressed ones are explicit VR."""
        if row.transfer_syntax == IMPLICIT_LITTLE:
            return IMPLICIT_LITTLE, EXPLICIT_LITTLE
        native = row.transfer_syntax in (EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)
        return EXPLICIT_LITTLE, IMPLICIT_LITTLE, *(() if native else (row.transfer_syntax,))

    def source(self, archive: Sources, row: InstanceRow, wanted: str) -> ByteSource:
        """Return the bytes of `row` in the transfer syntax that was chosen."""
        stored = row.transfer_syntax
        chunks: Iterable[bytes] = archive.source_of(row).chunks()
        data = without_bulk_data(_inflated(chunks) if stored == DEFLATED else chunks, big_endian=stored == EXPLICIT_BIG)
        if stored == EXPLICIT_BIG:
            data = encode(parse_dataset(data, 0, len(data), Syntax(big_endian=True))[0])
        source = BytesSource(data)
        own = IMPLICIT_LITTLE if stored == IMPLICIT_LITTLE else EXPLICIT_LITTLE
        changes = wanted != own and wanted in (IMPLICIT_LITTLE, EXPLICIT_LITTLE)
        return reencode(source, own, wanted) if changes else source


def without_bulk_data(chunks: Iterable[bytes], *, big_endian: bool = False) -> bytes:
    """Return the bytes of a data set without what PS3.4 Z.1.3 names, long private attributes and group lengths.

    Raises
    ------
    ObjectError
        If the data set is truncated, or too long even so.
    """
    copy = _Copy(chunks, big_endian)
    copy.dataset()
    return bytes(copy.out)


def _inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes that a deflated data set stands for, in pieces of at most 1 MiB."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for chunk in chunks:
            while chunk and not engine.eof:
                yield engine.decompress(chunk, 1 << 20)
                chunk = engine.unconsumed_tail
    except zlib.error as error:
        raise ObjectError("deflated data set", str(error)) from None


class _Copy:
    """A data set on its way from a stream to memory."""

    def __init__(self, chunks: Iterable[bytes], big_endian: bool) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""
        self._at = 0
        self._position = 0
        self._syntax = Syntax(big_endian=big_endian)
        self.out = bytearray()

    # -- the stream

    def _fill(self) -> bool:
        """Make sure that there is a byte; False at the end."""
        while self._at >= len(self._buffer):
            piece = next(self._chunks, None)
            if piece is None:
                return False
            self._buffer, self._at = piece, 0
        return True

    def _take(self, length: int, *, keep: bool) -> bytes:
        """Read `length` bytes, in memory if they are to be kept."""
        found = bytearray()
        left = length
        while left:
            if not self._fill():
                raise ObjectError("data set", "is truncated", found=f"{left} bytes less than announced")
            piece = self._buffer[self._at : self._at + left]
            self._at += len(piece)
            left -= len(piece)
            if keep:
                found += piece
                if len(found) + len(self.out) > LONGEST_HEADER:
                    raise ObjectError("data set", "is too long without its bulk data", expected=f"{LONGEST_HEADER}")
        self._position += length
        return bytes(found)

    # -- the data set

    def dataset(self) -> None:
        """Copy the elements of the data set itself."""
        first = True
        while self._fill():
            head = self._take(8, keep=True)
            if first:
                # The first element tells, whatever the transfer syntax is said to be.
                self._syntax.implicit = not (head[4:6].isalpha() and head[4:6].isupper())
                first = False
            self._element(head, top=True)

    def _element(self, head: bytes, *, top: bool = False, drop: int = -1) -> None:
        """Copy the element that begins with `head`, unless it is to be left out."""
        group, number = self._syntax.tag(head, 0)
        tag = group << 16 | number
        code = b"" if self._syntax.implicit else head[4:6]
        if self._syntax.implicit:
            length = self._syntax.long(head, 4)[0]
        elif code in _LONG:
            head += self._take(4, keep=True)
            length = self._syntax.long(head, 8)[0]
        else:
            length = self._syntax.short(head, 6)[0]
        long_private = group & 1 and LONGEST_PRIVATE < length < UNDEFINED
        if top and tag == WAVEFORM_SEQUENCE:
            self._waveforms(head, length)
        elif (top and (is_bulk_data(tag) or long_private)) or tag == drop or not number:
            self._value(length, code, keep=False)
        else:
            self.out += head
            self._value(length, code, keep=True)

    def _value(self, length: int, code: bytes, *, keep: bool) -> None:
        if length == UNDEFINED:
            self._items(code == b"UN", keep)
            return
        data = self._take(length, keep=keep)
        self.out += data

    def _items(self, unknown: bool, keep: bool) -> None:
        """Copy, or pass over, items up to the delimiter; an unknown VR of undefined length is implicit inside."""
        outside = self._syntax
        if unknown:
            self._syntax = Syntax(implicit=True)
        while True:
            head = self._take(8, keep=True)
            group, number = self._syntax.tag(head, 0)
            length = self._syntax.long(head, 4)[0]
            if keep:
                self.out += head
            if group << 16 | number == SEQUENCE_END:
                break
            if group << 16 | number != ITEM:
                raise ObjectError("sequence", "is broken", expected="an item")
            if length != UNDEFINED:
                self.out += self._take(length, keep=keep)
            else:
                self._undefined_item(keep)
        self._syntax = outside

    def _undefined_item(self, keep: bool) -> None:
        """Copy, or pass over, the elements of an item up to its delimiter."""
        mark = len(self.out)
        while True:
            head = self._take(8, keep=True)
            group, number = self._syntax.tag(head, 0)
            if group << 16 | number == ITEM_END:
                self.out += head
                break
            self._element(head)
            if not keep:
                del self.out[mark:]
        if not keep:
            del self.out[mark:]

    def _waveforms(self, head: bytes, length: int) -> None:
        """Copy Waveform Sequence without Waveform Data, its lengths undefined since they are others now."""
        endless = b"\xff\xff\xff\xff"
        end = None if length == UNDEFINED else self._position + length
        self.out += head[:-4] + endless
        while end is None or self._position < end:
            item = self._take(8, keep=True)
            group, number = self._syntax.tag(item, 0)
            if group << 16 | number == SEQUENCE_END:
                break
            inside = self._syntax.long(item, 4)[0]
            stop = None if inside == UNDEFINED else self._position + inside
            self.out += item[:4] + endless
            while stop is None or self._position < stop:
                element = self._take(8, keep=True)
                group, number = self._syntax.tag(element, 0)
                if group << 16 | number == ITEM_END:
                    break
                self._element(element, drop=WAVEFORM_DATA)
            self.out += self._delimiter(ITEM_END)
        self.out += self._delimiter(SEQUENCE_END)

    def _delimiter(self, tag: int) -> bytes:
        return struct.pack(">HHI" if self._syntax.big_endian else "<HHI", tag >> 16, tag & 0xFFFF, 0)
