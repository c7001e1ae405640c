"""Objects as streams of bytes of known length: whoever sends, writes or checks one reads a `ByteSource`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from gateway.errors import ObjectError

CHUNK = 1 << 18


class Outgoing(Protocol):
    """The bytes of a data set as they are sent: how many there are need not be known before their end."""

    @property
    def length(self) -> int | None:
        """Number of bytes, None while it is not known."""
        ...

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most `size`."""
        ...


class ByteSource(Protocol):
    """The bytes of a data set, readable as often as wanted.

    Attributes
    ----------
    length : int
        Number of bytes.
    """

    length: int

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most `size`."""
        ...


class Taker(Protocol):
    """Takes the bytes of a data set as they pass, in order."""

    def update(self, piece: bytes) -> None:
        """Take in bytes that nobody changes any more."""
        ...

    def hexdigest(self) -> str:
        """Return the BLAKE3-128 digest of everything so far, empty where none is made."""
        ...


class Sink(Taker, Protocol):
    """A taker that is a context manager, too, and drops what an exception ends."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None: ...


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.length = len(data)

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most `size`."""
        for start in range(0, self.length, size):
            yield self.data[start : start + size]


class FileSource:
    """A part of a file, by default from `offset` to its end."""

    def __init__(self, path: Path, offset: int = 0, length: int | None = None) -> None:
        self.path = path
        self.offset = offset
        self.length = path.stat().st_size - offset if length is None else length

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most `size`.

        Raises
        ------
        OSError
            If the file has become shorter.
        """
        with open(self.path, "rb", buffering=0) as file:
            yield from read_range(file, self.offset, self.length, size, str(self.path))


def announce(path: Path, offset: int, length: int) -> None:
    """Have the disk read a part of a file that will be wanted soon, while what comes before it is dealt with."""
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), offset, length, os.POSIX_FADV_WILLNEED)


def every_byte(source: Outgoing, size: int = CHUNK) -> Iterator[bytes]:
    """Yield the bytes of a data set in pieces of at most `size`.

    Raises
    ------
    ObjectError
        If there are none, or more or fewer than announced.
    """
    count = 0
    announced = source.length
    for piece in source.chunks(size):
        count += len(piece)
        if announced is not None and count > announced:
            raise ObjectError("data set", "has more bytes than announced", expected=f"{announced} bytes")
        yield piece
    if announced is not None and count < announced:
        raise ObjectError("data set", "has fewer bytes than announced", found=count, expected=f"{announced} bytes")
    if not count:
        raise ObjectError("data set", "is empty")


def last_held_back(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield pieces, the last one only when there is none after it: what is found at the end comes before it is sent."""
    last = b""
    for piece in pieces:
        if piece:
            if last:
                yield last
            last = piece
    if last:
        yield last


def write_back(descriptor: int, offset: int, length: int) -> None:
    """Have the disk begin to write a part of a file, so that a sync later has little to wait for.

    Linux begins to write dirty pages that are said not to be needed, and keeps them until they are written.
    """
    os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)


def read_range(file: BinaryIO, offset: int, length: int, size: int, name: str) -> Iterator[bytes]:
    """Yield `length` bytes of an open binary file from `offset` on."""
    file.seek(offset)
    while length:
        piece = file.read(min(size, length))
        if not piece:
            raise OSError(f"{name}: {length} bytes are missing at its end")
        length -= len(piece)
        yield piece
