"""What the process of `gateway.archive.decoder` does: pixels are decoded, and compared or written.

It ends with the one that has started it, and so does what it is doing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from gateway.errors import ObjectError
from gateway.objects.elements import integer
from gateway.objects.encode import element_head, encode
from gateway.objects.part10 import Header, read_header

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

    Raises
    ------
    ObjectError
        If the frames are not what the header says, or could change by being decoded.
    """
    header = read_header(stored)
    ds, size = header.dataset, _frame_size(header)
    count = integer(ds, "NumberOfFrames", 1) or 1
    length = count * size
    with open(decoded, "wb") as out:
        out.write(encode({tag: ds[tag] for tag in sorted(ds) if tag < _PIXEL_DATA and tag not in _OF_FRAGMENTS}))
        out.write(element_head(_PIXEL_DATA, "OB" if integer(ds, "BitsAllocated") == 8 else "OW", length + length % 2))
        for frame in _samples(stored):
            if len(frame) != size or not count:
                raise ObjectError(header.sop_instance, "has other frames than its header says")
            out.write(frame)
            count -= 1
        if count:
            raise ObjectError(header.sop_instance, "has fewer frames than its header says")
        out.write(bytes(length % 2))
        out.write(encode({tag: ds[tag] for tag in sorted(ds) if tag > _PIXEL_DATA}))
    return ""


def _frame_size(header: Header) -> int:
    ds = header.dataset
    if integer(ds, "SamplesPerPixel") != 1:
        raise ObjectError(header.sop_instance, "has colours, which decoders may change")
    bits = integer(ds, "BitsAllocated", 0) or 0
    size = (integer(ds, "Rows", 0) or 0) * (integer(ds, "Columns", 0) or 0) * bits // 8
    if bits not in (8, 16, 32) or not size:
        raise ObjectError(header.sop_instance, "has no pixels that can be decoded", found=f"{bits} bits")
    return size


def _samples(stored: Path) -> Iterator[bytes]:
    from pydicom.pixels import iter_pixels

    # A file without a name is known by its descriptor only.
    with open(stored, "rb") as file:
        for array in iter_pixels(file, raw=True):
            yield array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


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
        except Exception as error:  # whatever decoders raise, the next instance is another one
            answer = f"-{type(error).__name__}: {error}"[:_LONGEST_REASON]
        finally:
            for number in descriptors:
                os.close(number)
        channel.send(answer.encode())


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    serve(socket.socket(fileno=os.dup(0)))
