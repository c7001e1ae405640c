"""What the process of `gateway.archive.decoder` does: pixels are decoded, and compared or written.

It ends with the one that has started it, and so does what it is doing.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from gateway.archive.samples import REPLACED, Image, Nested
from gateway.errors import ObjectError
from gateway.objects.elements import Encapsulated
from gateway.objects.encode import element_head
from gateway.objects.parse import PIXEL_TAGS, Syntax
from gateway.objects.part10 import Header, read_header
from gateway.objects.recoder import Recoder
from gateway.objects.reencode import LONGEST_HEADER
from gateway.objects.tokens import Token, check_same

_PIXEL_DATA = 0x7FE00010

# Extended Offset Table, its lengths, and the total length of what was encapsulated: of no native object.
_OF_FRAGMENTS = frozenset((0x7FE00001, 0x7FE00002, 0x7FE00003))

# pydicom inflates a deflated object in memory.
_MOST_INFLATED = 256 << 20

# Of `prctl`: the signal this process gets when the thread that started it has ended.
_PARENT_DEATH_SIGNAL = 1

_LONGEST_REQUEST = 64
_LONGEST_REASON = 1000


def same(one: Path, other: Path) -> str:
    """Compare decoded frames, one at a time."""
    import numpy

    pairs = zip_longest(_frames(read_header(one)), _frames(read_header(other)))
    equal = all(a is not None and b is not None and numpy.array_equal(a, b) for a, b in pairs)
    return "equal" if equal else "different"


def _frames(header: Header) -> Iterator[Any]:
    """Yield the decoded frames of a file."""
    from pydicom import dcmread
    from pydicom.pixels import iter_pixels

    if not header.deflated:
        yield from iter_pixels(header.path)
    elif header.pixels and header.pixels.length <= _MOST_INFLATED:
        yield from iter_pixels(dcmread(header.path))
    else:
        raise ObjectError(header.path.name, "is too long to be inflated")


def native(stored: Path, decoded: Path) -> str:
    """Write the data set of a compressed file in Explicit VR Little Endian, one frame after the other.

    Compressed pixels inside of sequences (icons) are decoded as well. What was written is read again and compared with
    the file, down to the last nested element.

    Raises
    ------
    ObjectError
        If the frames are not what the header says, could change by being decoded, or anything else would change.
    """
    header = read_header(stored)
    image = Image(header) if header.pixels and header.pixels.fragments is not None else None
    inside = Nested(header.transfer_syntax)
    with open(stored, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start, end = _around_pixels(header, data)
        before = bytes(data[header.dataset_offset : start])
        recoder = Recoder(Syntax(), False, inside.unpack, image.replaced if image else {}, _OF_FRAGMENTS)
        with open(decoded, "w+b") as out:
            head = bytearray()
            recoder.recode(before, 0, len(before), head)
            if image:
                del head[-_PIXEL_HEAD:]
                head += element_head(_PIXEL_DATA, image.vr, image.length + image.length % 2)
            out.write(head)
            pixels = image.frames(file) if image else iter((data[start:end],))
            for samples in pixels:
                out.write(samples)
            out.write(bytes(out.tell() % 2))
            between = out.tell()
            after, tail = bytes(data[end:]), bytearray()
            recoder.recode(after, 0, len(after), tail)
            out.write(tail)
            out.flush()
            _prove(out.fileno(), before, after, len(head), between, inside.made)
    return ""


# Tag, VR, reserved bytes and length of pixel data.
_PIXEL_HEAD = 12


def _around_pixels(header: Header, data: mmap.mmap) -> tuple[int, int]:
    """Return where the value of the pixel data begins and ends in a file, its end for both if there are none."""
    if header.implicit or header.big_endian or header.deflated:
        raise ObjectError(header.sop_instance, "is compressed and not in explicit VR little endian")
    if header.pixels is None:
        return len(data), len(data)
    start = header.pixels.offset
    if start - header.dataset_offset > LONGEST_HEADER or len(data) - start - header.pixels.length > LONGEST_HEADER:
        raise ObjectError(header.sop_instance, "has a header that is too long", expected=f"{LONGEST_HEADER} bytes")
    return start, start + header.pixels.length


def _prove(written: int, before: bytes, after: bytes, head: int, between: int, made: Sequence[bytes]) -> None:
    """Compare what was written before and after the frames with what was stored there."""
    expected = iter(made)

    def wanted(stored: Token, now: Token) -> bool:
        if not stored.depth and stored.tag in PIXEL_TAGS:
            return now.vr in ("OB", "OW")
        if not stored.depth and stored.tag in REPLACED:
            return now.value in REPLACED[stored.tag](stored.value or b"")
        return isinstance(stored.value, Encapsulated) and now.value == next(expected, None)

    again = os.pread(written, head, 0)
    check_same(before, Syntax(), again, Syntax(strict=True), wanted=wanted, dropped=_OF_FRAGMENTS)
    tail = os.pread(written, os.fstat(written).st_size - between, between)
    check_same(after, Syntax(), tail, Syntax(strict=True), wanted=wanted)
    if next(expected, None) is not None:
        raise ObjectError("data set", "has fewer compressed sequences than were decoded")


JOBS: dict[str, Callable[[Path, Path], str]] = {"same": same, "native": native}


def serve(channel: socket.socket) -> None:
    """Do one job after the other until nobody is left to ask for one."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(channel, _LONGEST_REQUEST, 2)
        if not request:
            return
        try:
            one, other = (Path(f"/dev/fd/{number}") for number in descriptors)
            answer = f"+{JOBS[request.decode()](one, other)}"
        except (OSError, MemoryError) as error:
            answer = f"!{error or type(error).__name__}"[:_LONGEST_REASON]
        except ObjectError as error:
            answer = f"-{error}"[:_LONGEST_REASON]
        except Exception as error:  # whatever decoders raise, the next instance is another one
            answer = " ".join(f"-{type(error).__name__}: {error}".split())[:_LONGEST_REASON]  # one line of a status
        finally:
            for number in descriptors:
                os.close(number)
        channel.send(answer.encode())


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    serve(socket.socket(fileno=os.dup(0)))
