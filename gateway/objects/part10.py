"""DICOM files: where the data set and the pixel data stand in them (PS3.10 section 7, PS3.5 A.4)."""

from __future__ import annotations

import io
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from gateway.errors import ObjectError
from gateway.objects.elements import DataSet, dataset, make, text
from gateway.objects.encode import encode
from gateway.objects.parse import PIXEL_TAGS, UNDEFINED, Syntax, fragments_at, parse_dataset
from gateway.objects.uids import STANDARD_ROOT, valid_uid

# One implementation for all versions: a peer that keys on it must not see a new one with every release.
IMPLEMENTATION_CLASS_UID = "2.25.92466302416817466304918274690126347105"
IMPLEMENTATION_VERSION_NAME = "GATEWAY_1"

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

PREAMBLE = bytes(128) + b"DICM"

# How much of an inflated data set is looked at; the pixel data that follow are only counted.
_INFLATED_HEAD = 64 << 20


@dataclass(frozen=True, slots=True)
class PixelData:
    """Where the pixel data element of a file stands.

    Attributes
    ----------
    tag : int
        (7FE0,0010), or the float variants.
    vr : str
        Its VR.
    offset : int
        File offset of the value; for encapsulated data of the first item, the Basic Offset Table.
    length : int
        Length of the value in bytes, item headers and delimiter included for encapsulated data.
    fragments : tuple of (int, int), or None
        File offset and length of every fragment's value when encapsulated; the Basic Offset Table is not among them.
    """

    tag: int
    vr: str
    offset: int
    length: int
    fragments: tuple[tuple[int, int], ...] | None = None


@dataclass
class Header:
    """What a file says before and after its pixel data.

    Attributes
    ----------
    path : Path
        The file.
    size : int
        Its length in bytes.
    transfer_syntax : str
        By its meta information, or by the look of the data set when that has none.
    dataset_offset : int
        File offset of the first byte of the data set.
    dataset : DataSet
        All elements but the pixel data.
    pixels : PixelData or None
        The pixel data; for a deflated data set the offsets are those of the inflated bytes.
    meta : DataSet
        Elements of group 2.
    irregular : list of str
        What is not as the standard has it but could be read.
    doubtful : list of str
        Those of them where something is lost or hidden.
    """

    path: Path
    size: int
    transfer_syntax: str
    dataset_offset: int
    dataset: DataSet
    pixels: PixelData | None
    meta: DataSet
    implicit: bool
    big_endian: bool
    irregular: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)

    @property
    def deflated(self) -> bool:
        """Whether the data set is deflated as a whole."""
        return self.transfer_syntax == DEFLATED

    @cached_property
    def sop_class(self) -> str:
        """SOP Class UID of the data set."""
        return text(self.dataset, 0x00080016)

    @cached_property
    def sop_instance(self) -> str:
        """SOP Instance UID of the data set."""
        return text(self.dataset, 0x00080018)

    @cached_property
    def study(self) -> str:
        """Study Instance UID."""
        return text(self.dataset, 0x0020000D)

    @cached_property
    def series(self) -> str:
        """Series Instance UID."""
        return text(self.dataset, 0x0020000E)


def read_header(path: Path, *, left: frozenset[int] = frozenset()) -> Header:
    """Read everything of a DICOM file but its pixel data.

    Parameters
    ----------
    path : Path
        A file with or without the preamble of PS3.10.
    left : frozenset of int
        Tags of sequences of the data set itself that stay in the file too: their value is a `Span`. Not those of a
        deflated data set, which has no place in the file that could be gone back to.

    Raises
    ------
    ObjectError
        If the file is no DICOM object, is truncated, or does not say what it is.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < 16:
            raise ObjectError(path.name, "is no DICOM object", found=f"{size} bytes")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            try:
                return _read(path, buffer, size, left)
            except ObjectError as error:
                raise type(error)(path.name, str(error)) from None
            except struct.error:
                raise ObjectError(path.name, "is truncated") from None


def _read(path: Path, buffer: mmap.mmap, size: int, left: frozenset[int]) -> Header:
    meta, offset = _read_meta(buffer, size)
    declared = text(meta, 0x00020010)
    data: bytes | mmap.mmap = buffer
    start, end = offset, size
    if declared == DEFLATED:
        data, end = _inflate(buffer, offset)
        start = 0
    syntax = _syntax(data, start, declared)
    syntax.left = left if data is buffer else frozenset()
    elements, position = parse_dataset(data, start, min(end, len(data)), syntax, stop_at_pixels=True)
    pixels = None
    if position < end:
        pixels, position = pixel_data_at(data, position, end, syntax)
        if position < min(end, len(data)):
            elements.update(parse_dataset(data, position, end, syntax)[0])
    if not declared:
        declared = EXPLICIT_BIG if syntax.big_endian else IMPLICIT_LITTLE if syntax.implicit else EXPLICIT_LITTLE
    elif declared.startswith(STANDARD_ROOT) and (declared == IMPLICIT_LITTLE) != syntax.implicit:
        note = "the encoding is not that of the Transfer Syntax UID"
        # Implicit VR has no big endian form; with little endian ones it is plain which one it is.
        (syntax.doubt if syntax.big_endian else syntax.irregular.append)(note)
    return Header(
        path,
        size,
        declared,
        offset,
        elements,
        pixels,
        meta,
        syntax.implicit,
        syntax.big_endian,
        syntax.irregular,
        syntax.doubtful,
    )


def _read_meta(buffer: mmap.mmap, size: int) -> tuple[DataSet, int]:
    """Return group 2 and the offset of what follows it."""
    offset = 132 if buffer[128:132] == b"DICM" else 0
    # Without the prefix only a data set that begins as data sets do is believed to be one.
    if not offset and buffer[:2] not in (b"\2\0", b"\x08\0", b"\0\x08"):
        raise ObjectError("the file", "is no DICOM file", expected="the prefix DICM or a data set of group 0008")
    position = offset
    # Group length is often wrong or missing; the group number is what tells where the group ends.
    while position + 8 <= size and buffer[position : position + 2] == b"\2\0":
        code = buffer[position + 4 : position + 6]
        long = code in (b"OB", b"UN", b"OW", b"UT")
        length = struct.unpack_from("<I" if long else "<H", buffer, position + (8 if long else 6))[0]
        position += length + (12 if long else 8)
    if position > size:
        raise ObjectError("file meta information", "is truncated")
    return parse_dataset(buffer, offset, position, Syntax())[0], position


def _inflate(buffer: mmap.mmap, offset: int) -> tuple[bytes, int]:
    """Return the head of an inflated data set and the length of the whole."""
    head = io.BytesIO()
    length = 0
    for piece in _inflated_pieces(buffer, offset):
        length += len(piece)
        if head.tell() < _INFLATED_HEAD:
            head.write(piece)
    return head.getvalue(), length


def _inflated_pieces(buffer: mmap.mmap, offset: int) -> Iterator[bytes]:
    """Yield what the deflated bytes from `offset` on stand for, in pieces of at most 1 MiB."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    pending = b""
    try:
        while not engine.eof:
            chunk = pending or buffer[offset : offset + 65536]
            if not pending:
                offset += len(chunk)
            if not chunk:
                raise ObjectError("deflated data set", "is truncated")
            yield engine.decompress(chunk, 1 << 20)
            pending = engine.unconsumed_tail
    except zlib.error as error:
        raise ObjectError("deflated data set", str(error)) from None


def inflated(path: Path, offset: int, length: int) -> bytes:
    """Return a part of the inflated data set of a file in Deflated Explicit VR Little Endian.

    Parameters
    ----------
    path : Path
        The file.
    offset, length : int
        Which bytes of the inflated data set.

    Raises
    ------
    ObjectError
        If the data set is not so long.
    """
    found = bytearray()
    position = 0
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        start = _read_meta(buffer, len(buffer))[1]
        for piece in _inflated_pieces(buffer, start):
            found += piece[max(offset - position, 0) : max(offset + length - position, 0)]
            position += len(piece)
            if len(found) == length:
                return bytes(found)
    raise ObjectError(path.name, "has a shorter data set", found=position, expected=f"{offset + length} bytes")


def _syntax(data: bytes | mmap.mmap, start: int, declared: str) -> Syntax:
    """Return the encoding of a data set: as declared, unless its first element says otherwise."""
    big = declared == EXPLICIT_BIG
    code = data[start + 4 : start + 6]
    looks_explicit = code.isalpha() and code.isupper()
    if not declared and looks_explicit and data[start : start + 1] == b"\0" and data[start + 1 : start + 2] != b"\0":
        big = True
    return Syntax(implicit=not looks_explicit, big_endian=big)


def pixel_data_at(data: bytes | mmap.mmap, position: int, end: int, syntax: Syntax) -> tuple[PixelData, int]:
    """Return where the pixel data element at `position` stands and the offset behind it."""
    group, number = syntax.tag(data, position)
    tag = group << 16 | number
    assert tag in PIXEL_TAGS
    if syntax.implicit:
        vr, length = "OW", syntax.long(data, position + 4)[0]
        position += 8
    else:
        vr, length = data[position + 4 : position + 6].decode("latin-1"), syntax.long(data, position + 8)[0]
        position += 12
    if length != UNDEFINED:
        if position + length > end:
            raise ObjectError("pixel data", "are truncated", found=end - position, expected=f"{length} bytes")
        return PixelData(tag, vr, position, length), position + length
    fragments, stop = fragments_at(data, position, end, syntax)
    return PixelData(tag, vr, position, stop - position, tuple(fragments[1:])), stop


def check_identity(header: Header) -> None:
    """Refuse an object that cannot be told from others.

    Raises
    ------
    ObjectError
        If SOP Class, SOP Instance, Study Instance or Series Instance UID are missing or no UIDs.
    """
    for name, value in (
        ("SOP Class UID", header.sop_class),
        ("SOP Instance UID", header.sop_instance),
        ("Study Instance UID", header.study),
        ("Series Instance UID", header.series),
    ):
        if not value:
            raise ObjectError(name, "is missing")
        if not valid_uid(value):
            raise ObjectError(name, "is no UID", found=value[:70], expected="up to 64 digits and dots")


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str, source_ae: str = "") -> bytes:
    """Return preamble, prefix and file meta information of a file (PS3.10 7.1)."""
    before, after = _around_instance(sop_class, transfer_syntax, source_ae)
    instance = encode(dataset(make("MediaStorageSOPInstanceUID", sop_instance)))
    length = make("FileMetaInformationGroupLength", len(before) + len(instance) + len(after))
    return b"".join((PREAMBLE, encode(dataset(length)), before, instance, after))


@lru_cache(maxsize=256)
def _around_instance(sop_class: str, transfer_syntax: str, source_ae: str) -> tuple[bytes, bytes]:
    """Return the file meta information before and after the SOP Instance UID: all objects of a series share it."""
    before = [
        make("FileMetaInformationVersion", vr="OB")._replace(value=b"\0\1"),
        make("MediaStorageSOPClassUID", sop_class),
    ]
    after = [
        make("TransferSyntaxUID", transfer_syntax),
        make("ImplementationClassUID", IMPLEMENTATION_CLASS_UID),
        make("ImplementationVersionName", IMPLEMENTATION_VERSION_NAME),
    ]
    if source_ae:
        after.append(make("SourceApplicationEntityTitle", source_ae))
    return encode(dataset(*before)), encode(dataset(*after))
