"""The same data set with explicit or implicit VR: headers are written anew, pixel data are passed on (PS3.5 annex A).

For peers that take only one of the two little endian syntaxes. The work is done on bytes, element by element: no tree
of the header of a long object is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.errors import ObjectError
from gateway.objects.elements import DataSet, Element, tag_text
from gateway.objects.encode import SEQUENCE_STOP, element_head
from gateway.objects.parse import (
    ITEM,
    ITEM_END,
    PIXEL_REPRESENTATION,
    PIXEL_TAGS,
    SEQUENCE_END,
    SIGNED,
    UNDEFINED,
    Syntax,
    element_head_at,
)
from gateway.objects.part10 import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from gateway.objects.stream import CHUNK, ByteSource
from gateway.objects.tokens import check_same

_OPEN_ITEM = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
_CLOSE_ITEM = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00"

# A header that is longer is refused: headers of 2 GiB objects with 4,000 frames have some 20 MB.
LONGEST_HEADER = 128 << 20


def can_reencode(from_syntax: str, to_syntax: str) -> bool:
    """Tell whether only the header differs between two transfer syntaxes."""
    return {from_syntax, to_syntax} == {IMPLICIT_LITTLE, EXPLICIT_LITTLE}


def reencode(source: ByteSource, from_syntax: str, to_syntax: str) -> ByteSource:
    """Return the bytes of a data set in the other of the two little endian native syntaxes.

    Parameters
    ----------
    source : ByteSource
        The data set.
    from_syntax, to_syntax : str
        Implicit VR Little Endian and Explicit VR Little Endian, either way.

    Raises
    ------
    ObjectError
        If the header cannot be parsed or is too long.
    """
    if not can_reencode(from_syntax, to_syntax):
        raise ObjectError("data set", f"cannot be re-encoded from {from_syntax} to {to_syntax}")
    return _Reencoded(source, _Recoder(from_syntax == IMPLICIT_LITTLE))


class _Reencoded:
    """A header in memory, the pixel data of another source, and what follows those in memory again."""

    def __init__(self, source: ByteSource, recoder: _Recoder) -> None:
        self._source = source
        self._header, self._begin, self._end = _recoded_header(source, recoder)
        self._tail = bytearray()
        if self._end < source.length:
            rest = b"".join(_between(source.chunks(), self._end, source.length))
            recoder.recode(rest, 0, len(rest), self._tail, {})
        self.length = len(self._header) + self._end - self._begin + len(self._tail)

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most `size`."""
        for start in range(0, len(self._header), size):
            yield bytes(self._header[start : start + size])
        chunks = self._source.chunks(size)
        yield from _between(chunks, self._begin, self._end)
        for _ in chunks:  # to its end, where a source says that it was not what was stored
            pass
        if self._tail:
            yield bytes(self._tail)


def _between(chunks: Iterator[bytes], begin: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of `chunks` from offset `begin` to `end`."""
    position = 0
    for chunk in chunks:
        piece = chunk[max(begin - position, 0) : max(end - position, 0)]
        position += len(chunk)
        if piece:
            yield piece
        if position >= end:
            return


def _recoded_header(source: ByteSource, recoder: _Recoder) -> tuple[bytearray, int, int]:
    """Return the new header, pixel data head included, and where the pixel data begin and end in the source."""
    buffer = bytearray()
    wanted = CHUNK
    for chunk in source.chunks():
        buffer += chunk
        if len(buffer) < wanted and len(buffer) < source.length:
            continue
        out = bytearray()
        try:
            position, length = recoder.recode(bytes(buffer), 0, len(buffer), out, {})
        except ObjectError:
            # The header may go on behind what was read so far.
            if len(buffer) >= source.length or len(buffer) > LONGEST_HEADER:
                raise
            wanted = 2 * len(buffer)
            continue
        if length > source.length - position:
            raise ObjectError("pixel data", "are encapsulated or truncated", found=f"length {length}")
        if length >= 0 or len(buffer) >= source.length:
            # What leaves is proved: read again it must be what it was made of.
            check_same(bytes(buffer[:position]), recoder.syntax, bytes(out), Syntax(implicit=recoder.to_implicit))
            return out, position, position + max(length, 0)
        wanted = 2 * len(buffer)
    raise ObjectError("data set", "ends before its header does")


class _Recoder:
    """Rewrites elements from one VR encoding to the other, sequences with undefined lengths."""

    def __init__(self, from_implicit: bool) -> None:
        self.syntax = Syntax(implicit=from_implicit)
        self.to_implicit = not from_implicit

    def recode(self, buffer: bytes, position: int, end: int, out: bytearray, seen: DataSet) -> tuple[int, int]:
        """Append the elements up to `end`; return where it stopped and the length of pixel data there, else -1."""
        while position < end:
            if end - position < 8:
                raise ObjectError("data set", "is truncated")
            group, number = self.syntax.tag(buffer, position)
            tag = group << 16 | number
            if tag == ITEM_END:
                return position + 8, -1
            vr, length, position = element_head_at(buffer, position, end, tag, self.syntax, seen)
            if tag in PIXEL_TAGS and not seen.get(-1):
                out += element_head(tag, vr if vr != "UN" else "OW", length, implicit=self.to_implicit)
                return position, length
            if number == 0:
                position += length
                continue
            if vr == "SQ" or length == UNDEFINED:
                out += element_head(tag, "SQ", UNDEFINED, implicit=self.to_implicit)
                position = self._items(buffer, position, end, length, vr, out)
                out += SEQUENCE_STOP
                continue
            if position + length > end:
                raise ObjectError(tag_text(tag), "the data set is truncated")
            value = buffer[position : position + length]
            if tag == PIXEL_REPRESENTATION or (group & 1 and 0x10 <= number <= 0xFF):
                seen[tag] = Element(tag, vr, value)
                if tag == PIXEL_REPRESENTATION and -1 not in seen:
                    self.syntax.signed = value == SIGNED
            out += element_head(tag, vr, length, implicit=self.to_implicit)
            out += value
            position += length
        return position, -1

    def _items(self, buffer: bytes, position: int, end: int, length: int, vr: str, out: bytearray) -> int:
        """Append the items of a sequence and return the offset behind it."""
        stop = end if length == UNDEFINED else position + length
        if stop > end:
            raise ObjectError("sequence", "the data set is truncated")
        inner = self if vr != "UN" or self.syntax.implicit else _Recoder(True).towards(self.to_implicit)
        while position < stop:
            if stop - position < 8:
                raise ObjectError("sequence", "is truncated")
            group, number = self.syntax.tag(buffer, position)
            item_length = self.syntax.long(buffer, position + 4)[0]
            position += 8
            if group << 16 | number == SEQUENCE_END:
                return position
            if group << 16 | number != ITEM:
                raise ObjectError("sequence", "is broken", found=tag_text(group << 16 | number), expected="an item")
            out += _OPEN_ITEM
            item_end = stop if item_length == UNDEFINED else position + item_length
            if item_end > stop:
                raise ObjectError("sequence", "the data set is truncated")
            # Pixel data inside a sequence (an icon) are an element like others: -1 marks that we are inside.
            position = inner.recode(buffer, position, item_end, out, {-1: Element(0, "UN", b"")})[0]
            out += _CLOSE_ITEM
        if length == UNDEFINED:
            raise ObjectError("sequence", "the data set is truncated")
        return position

    def towards(self, implicit: bool) -> _Recoder:
        """Return this recoder with another target."""
        self.to_implicit = implicit
        return self
