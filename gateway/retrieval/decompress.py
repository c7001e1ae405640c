"""Compressed instances for peers that take only native ones (PS3.4 C.4.2.3.1): decoded where nothing can be lost by it.

Of one sample per pixel only, since decoders convert colours. Decoding is done in a process of its own, as in
`gateway.archive.decoding`, into a file without a name: whatever happens, nothing is left of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gateway.archive.rows import InstanceRow
from gateway.errors import ObjectError
from gateway.objects.elements import integer
from gateway.objects.encode import element_head, encode
from gateway.objects.part10 import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Header, file_meta, read_header
from gateway.objects.reencode import reencode
from gateway.objects.stream import CHUNK, ByteSource
from gateway.retrieval.rendition import Rendition, Sources
from gateway.standard.compression import LOSSLESS

_PIXEL_DATA = 0x7FE00010

# Extended Offset Table, its lengths, and the total length of what was encapsulated: of no native object.
_OF_FRAGMENTS = frozenset((0x7FE00001, 0x7FE00002, 0x7FE00003))

# Seconds; decoding 2 GiB of JPEG 2000 on a small box takes minutes.
_LONGEST = 900


class Decompressing(Rendition):
    """Instances as they are stored, or decoded where only that is taken.

    Parameters
    ----------
    folder : Path
        Where decoded instances may be while they are sent.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def syntaxes(self, row: InstanceRow) -> tuple[str, ...]:
        """Return the transfer syntaxes `row` can be sent in, the stored one first."""
        decoded = (EXPLICIT_LITTLE, IMPLICIT_LITTLE) if row.transfer_syntax in LOSSLESS else ()
        return (*super().syntaxes(row), *decoded)

    def source(self, archive: Sources, row: InstanceRow, wanted: str) -> ByteSource:
        """Return the bytes of `row` in the transfer syntax that was chosen.

        Raises
        ------
        ObjectError
            If the pixels cannot be decoded, or not without loss.
        """
        if wanted in super().syntaxes(row):
            return super().source(archive, row, wanted)
        source = self._decoded(archive.source_of(row), row)
        return source if wanted == EXPLICIT_LITTLE else reencode(source, EXPLICIT_LITTLE, wanted)

    def _decoded(self, source: ByteSource, row: InstanceRow) -> ByteSource:
        decoded = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed with the source that has it
        try:
            with tempfile.TemporaryFile(dir=self._folder) as stored:
                stored.write(file_meta(row.sop_class, row.sop_instance, row.transfer_syntax))
                for chunk in source.chunks():
                    stored.write(chunk)
                stored.flush()
                _run(row.sop_instance, stored.fileno(), decoded.fileno())
        except BaseException:
            decoded.close()
            raise
        return _Unnamed(decoded)


def _run(subject: str, *descriptors: int) -> None:
    """Decode in a process of its own."""
    command = [sys.executable, "-P", "-m", __name__, *(f"/dev/fd/{number}" for number in descriptors)]
    try:
        done = subprocess.run(
            command, pass_fds=descriptors, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        raise ObjectError(subject, "takes too long to decode") from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ObjectError(subject, "cannot be decoded", found=lines[-1] if lines else f"status {done.returncode}")


class _Unnamed:
    """The bytes of a file that is gone when nobody has it any more."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.length = os.fstat(file.fileno()).st_size

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most `size`."""
        for start in range(0, self.length, size):
            yield os.pread(self._file.fileno(), size, start)


def decode(stored: Path, decoded: Path) -> None:
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
        for frame in _frames(stored):
            if len(frame) != size or not count:
                raise ObjectError(header.sop_instance, "has other frames than its header says")
            out.write(frame)
            count -= 1
        if count:
            raise ObjectError(header.sop_instance, "has fewer frames than its header says")
        out.write(bytes(length % 2))
        out.write(encode({tag: ds[tag] for tag in sorted(ds) if tag > _PIXEL_DATA}))


def _frame_size(header: Header) -> int:
    ds = header.dataset
    if integer(ds, "SamplesPerPixel") != 1:
        raise ObjectError(header.sop_instance, "has colours, which decoders may change")
    bits = integer(ds, "BitsAllocated", 0) or 0
    size = (integer(ds, "Rows", 0) or 0) * (integer(ds, "Columns", 0) or 0) * bits // 8
    if bits not in (8, 16, 32) or not size:
        raise ObjectError(header.sop_instance, "has no pixels that can be decoded", found=f"{bits} bits")
    return size


def _frames(stored: Path) -> Iterator[bytes]:
    from pydicom.pixels import iter_pixels

    # A file without a name is known by its descriptor only.
    with open(stored, "rb") as file:
        for array in iter_pixels(file, raw=True):
            yield array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


if __name__ == "__main__":
    decode(Path(sys.argv[1]), Path(sys.argv[2]))
