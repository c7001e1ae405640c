"""The same data set in another native transfer syntax: the header is written anew, pixel data are passed on.

For peers that take only one of the little endian syntaxes (PS3.5 annex A): from the other one, and from explicit VR big
endian. A deflated data set is read through `gateway.objects.deflate.Inflated`. The header that leaves has been read
again and compared with what it was made of, down to the last nested element.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from gateway.errors import ObjectError
from gateway.objects.elements import UNIT_SIZE
from gateway.objects.parse import UNDEFINED, Syntax, swapped
from gateway.objects.part10 import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from gateway.objects.recoder import Recoder
from gateway.objects.stream import CHUNK, ByteSource, last_held_back
from gateway.objects.tokens import check_same

# A header that is longer is refused: headers of 2 GiB objects with 4,000 frames have some 20 MB.
LONGEST_HEADER = 128 << 20

_TARGETS = frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE))
_NATIVE = _TARGETS | {EXPLICIT_BIG}


def can_reencode(from_syntax: str, to_syntax: str) -> bool:
    """Tell whether a data set can be written in another transfer syntax without touching a sample."""
    return from_syntax in _NATIVE and to_syntax in _TARGETS and from_syntax != to_syntax


def reencode(source: ByteSource, from_syntax: str, to_syntax: str) -> ByteSource:
    """Return the bytes of a data set in another native syntax, little endian.

    Parameters
    ----------
    source : ByteSource
        The data set.
    from_syntax, to_syntax : str
        Transfer syntax UIDs for which `can_reencode` is true.

    Raises
    ------
    ObjectError
        If the header cannot be parsed, is too long, or holds what the other syntax cannot carry.
    """
    if not can_reencode(from_syntax, to_syntax):
        raise ObjectError("data set", f"cannot be re-encoded from {from_syntax} to {to_syntax}")
    return _Reencoded(source, from_syntax, to_syntax)


class _Reencoded:
    """A header in memory, the pixel data of another source, and what follows those in memory again."""

    def __init__(self, source: ByteSource, from_syntax: str, to_syntax: str) -> None:
        self._source = source
        self._syntax = Syntax(implicit=from_syntax == IMPLICIT_LITTLE, big_endian=from_syntax == EXPLICIT_BIG)
        self._to_implicit = to_syntax == IMPLICIT_LITTLE
        self._unit = 1  # bytes of what has a byte order in the pixel data
        self._header, self._begin, self._end = self._recoded()
        self._tail = bytearray()
        if self._end < source.length:
            if source.length - self._end > LONGEST_HEADER:
                raise ObjectError("data set", "has too much behind its pixel data", expected=f"{LONGEST_HEADER} bytes")
            self._tail = self._written(b"".join(_between(source.chunks(), self._end, source.length)))[0]
        self.length = len(self._header) + self._end - self._begin + len(self._tail)

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Return the bytes in pieces of at most `size`; the last one after every byte of the source has been read."""
        return last_held_back(self._pieces(size))

    def _pieces(self, size: int) -> Iterator[bytes]:
        for start in range(0, len(self._header), size):
            yield bytes(self._header[start : start + size])
        chunks = self._source.chunks(size)
        pixels = _between(chunks, self._begin, self._end)
        yield from _swapped(pixels, self._unit) if self._syntax.big_endian else pixels
        for _ in chunks:  # to its end, where a source says that it was not what was stored
            pass
        for start in range(0, len(self._tail), size):
            yield bytes(self._tail[start : start + size])

    def _recoded(self) -> tuple[bytearray, int, int]:
        """Return the new header, pixel data head included, and where the pixel data begin and end in the source."""
        buffer = bytearray()
        wanted = CHUNK
        chunks = self._source.chunks()
        for chunk in chunks:
            buffer += chunk
            whole = len(buffer) >= self._source.length
            if len(buffer) < wanted and not whole:
                continue
            self._look(buffer)
            wanted = 2 * len(buffer)
            try:
                out, position, length = self._written(bytes(buffer))
            except (ObjectError, struct.error) as error:
                # The header may go on behind what was read so far.
                if not whole and len(buffer) <= LONGEST_HEADER:
                    continue
                for _ in chunks:  # a source may know at its end that it is not what was stored
                    pass
                raise error if isinstance(error, ObjectError) else ObjectError("data set", "is truncated") from None
            if length == UNDEFINED or length > self._source.length - position:
                raise ObjectError("pixel data", "are encapsulated or truncated", found=f"length {length}")
            if length >= 0 or whole:
                return out, position, position + max(length, 0)
        raise ObjectError("data set", "ends before its header does")

    def _look(self, buffer: bytearray) -> None:
        """See how the data set is encoded: its first element tells, whatever the transfer syntax is said to be."""
        self._syntax.implicit = not (buffer[4:6].isalpha() and buffer[4:6].isupper())
        group = self._syntax.tag(buffer, 0)[0]
        if (self._syntax.big_endian and self._syntax.implicit) or (group > 0xFF and not group & 0xFF):
            raise ObjectError("data set", "is not encoded as its transfer syntax says")

    def _written(self, data: bytes) -> tuple[bytearray, int, int]:
        """Write elements anew, and prove it; return them, the offset behind them and the length of pixel data there."""
        out = bytearray()
        signed = self._syntax.signed
        recoder = Recoder(self._syntax, self._to_implicit)
        position, length = recoder.recode(data, 0, len(data), out)
        if self._syntax.signed != signed:
            # Pixel Representation settles the VR of what comes before it, too.
            out = bytearray()
            position, length = recoder.recode(data, 0, len(data), out)
        if length >= 0:
            self._unit = UNIT_SIZE.get(recoder.pixel_vr, 1)
        if length >= 0 or position == len(data):
            before = Syntax(self._syntax.implicit, self._syntax.big_endian, signed=self._syntax.signed)
            check_same(data[:position], before, bytes(out), Syntax(self._to_implicit, strict=True))
        return out, position, length


def _swapped(chunks: Iterator[bytes], unit: int) -> Iterator[bytes]:
    """Yield chunks with the byte order of units turned round; one may be divided between two of them."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        whole = len(rest) // unit * unit
        yield swapped(rest[:whole], unit) if unit > 1 else rest[:whole]
        rest = rest[whole:]
    yield rest


def _between(chunks: Iterator[bytes], begin: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of `chunks` from offset `begin` to `end`, and read on to the end of them all."""
    position = 0
    for chunk in chunks:
        piece = chunk[max(begin - position, 0) : max(end - position, 0)]
        position += len(chunk)
        if piece:
            yield piece
