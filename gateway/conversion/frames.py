"""Where the frames of a multi-frame object stand in its file (PS3.5 A.4, PS3.3 C.7.6.3.1.8)."""

from __future__ import annotations

import struct

from gateway.errors import ConversionError
from gateway.objects.elements import integer, raw
from gateway.objects.part10 import Header

# SOI of JPEG and JPEG-LS (ITU-T T.81, T.87), SOC of JPEG 2000 (T.800).
_CODE_STREAMS = (b"\xff\xd8", b"\xff\x4f")


def frame_ranges(header: Header) -> list[tuple[int, int]]:
    """Return file offset and length of every frame.

    Parameters
    ----------
    header : Header
        Header of a native or encapsulated multi-frame object.

    Returns
    -------
    list of (int, int)
        For encapsulated data the range starts with the item head of the frame's first fragment.

    Raises
    ------
    ConversionError
        If the pixel data do not hold the frames that the header announces.
    """
    ds, pixels = header.dataset, header.pixels
    frames = integer(ds, "NumberOfFrames", 1) or 1
    if pixels is None:
        raise ConversionError(header.path.name, "has no pixel data")
    if pixels.fragments is None:
        bits = (
            frames * (integer(ds, "Rows") or 0) * (integer(ds, "Columns") or 0) * (integer(ds, "SamplesPerPixel") or 0)
        )
        length = bits * (integer(ds, "BitsAllocated") or 0) // 8 // frames
        if not length or length * frames > pixels.length or (integer(ds, "BitsAllocated") or 0) % 8:
            raise ConversionError(
                header.path.name,
                "has not the pixel data of its frames",
                found=pixels.length,
                expected=str(length * frames),
            )
        return [(pixels.offset + length * number, length) for number in range(frames)]
    return _encapsulated(header, frames)


def _encapsulated(header: Header, frames: int) -> list[tuple[int, int]]:
    assert header.pixels is not None
    fragments = header.pixels.fragments or ()
    starts = [offset - 8 for offset, _ in fragments]
    if not fragments:
        raise ConversionError(header.path.name, "has no fragments")
    end = fragments[-1][0] + fragments[-1][1]
    if frames == 1:
        del starts[1:]
    elif len(fragments) != frames:
        table = _extended_table(header) or _offset_table(header)
        starts = [starts[0] + offset for offset in table] if table else _by_marker(header)
    if len(starts) != frames or starts != sorted(starts) or starts[-1] >= end:
        raise ConversionError(header.path.name, "does not say where its frames begin", found=f"{len(starts)} frames")
    return [(start, stop - start) for start, stop in zip(starts, [*starts[1:], end], strict=True)]


def _extended_table(header: Header) -> list[int]:
    """Return the Extended Offset Table, which very long objects have (C.7.6.3.1.8)."""
    table = raw(header.dataset, "ExtendedOffsetTable")
    return list(struct.unpack(f"<{len(table) // 8}Q", table[: len(table) // 8 * 8]))


def _by_marker(header: Header) -> list[int]:
    """Return where fragments begin that begin as a code stream of JPEG, JPEG-LS or JPEG 2000 does."""
    assert header.pixels is not None
    found = []
    with open(header.path, "rb", buffering=0) as file:
        for offset, _ in header.pixels.fragments or ():
            file.seek(offset)
            if file.read(2) in _CODE_STREAMS:
                found.append(offset - 8)
    return found


def _offset_table(header: Header) -> list[int]:
    """Return the Basic Offset Table."""
    assert header.pixels is not None
    with open(header.path, "rb") as file:
        file.seek(header.pixels.offset + 4)
        length = struct.unpack("<I", file.read(4))[0]
        return list(struct.unpack(f"<{length // 4}I", file.read(length)))
