"""What an object is to another one of its SOP Instance UID, in any transfer syntax (REQUIREMENTS S6, T3).

Elements are compared as encoded values, pixels as stored bytes where the encoding is the same and decoded otherwise.
Where that cannot be done they count as different: then both objects are kept.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.archive import intact
from gateway.archive.decoder import same_decoded
from gateway.archive.images import elsewhere
from gateway.archive.rows import DERIVED, InstanceRow
from gateway.errors import ObjectError, ResourceError
from gateway.objects.elements import UNIT_SIZE, DataSet, Element, Span, integer, same, tag_of
from gateway.objects.parse import ITEM, SEQUENCE_END, Syntax, parse_dataset
from gateway.objects.part10 import Header, PixelData, file_meta, read_header
from gateway.objects.stream import FileSource
from gateway.observe import event

if TYPE_CHECKING:
    from gateway.archive.index import Archive

_TRAILING_PADDING = tag_of("DataSetTrailingPadding")

# How samples are encoded, not what they are: decoding tells whether they agree.
_SAMPLE_ENCODING = frozenset((tag_of("PhotometricInterpretation"), tag_of("PlanarConfiguration")))


# What samples are, beside their bytes (PS3.3 C.7.6.3); without Number of Frames there is one.
_SHAPE = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "PixelRepresentation")


class Likeness(enum.Enum):
    """What a newly received object is to one that is held."""

    SAME = "equal elements and pixels"
    VERSION = "the same image with other content"
    OTHER = "another image"


def likeness(archive: Archive, held: InstanceRow, header: Header) -> Likeness:
    """Compare a held instance with a newly received file of the same SOP Instance UID.

    It is another image if its pixels differ *and* it says itself that it was made elsewhere.
    """
    try:
        for _ in range(2):
            # A checkpoint may move the held file between looking for it and reading it.
            with contextlib.suppress(FileNotFoundError), _file_of(archive, held) as path:
                if held.kind != DERIVED:
                    intact.require(archive, held)
                return _likeness(read_header(path), header)
    except ResourceError:
        raise
    except Exception as error:  # whatever stands in either of them: both are kept
        event("intake.not_comparable", instance=held.sop_instance, held=held.name, reason=error)
    return Likeness.VERSION


def _likeness(one: Header, other: Header) -> Likeness:
    if same_content(one, other):
        return Likeness.SAME
    if elsewhere(one.dataset, other.dataset) and not same_pixels(one, other):
        return Likeness.OTHER
    return Likeness.VERSION


@contextlib.contextmanager
def _file_of(archive: Archive, row: InstanceRow) -> Iterator[Path]:
    """Give the file of an instance; that of a derived object is written out for the time."""
    if row.kind != DERIVED:
        yield archive.files.locate(row.name)
        return
    part = archive.files.begin(file_meta(row.sop_class, row.sop_instance, row.transfer_syntax))
    try:
        for chunk in archive.source_of(row).chunks():
            part.write(chunk)
        yield part.path
    finally:
        part.discard()


def same_content(one: Header, other: Header) -> bool:
    """Tell whether two files have equal elements and, after decoding, equal pixels."""
    if (one.pixels is None) != (other.pixels is None):
        return False
    ignored = {_TRAILING_PADDING}
    if any(header.pixels and header.pixels.fragments is not None for header in (one, other)):
        ignored |= _SAMPLE_ENCODING
    if one.dataset.keys() - ignored != other.dataset.keys() - ignored:
        return False
    if not all(_same_element(one, element, other, other.dataset[tag]) for tag, element in one.dataset.items()
               if tag not in ignored):  # fmt: skip
        return False
    return one.pixels is None or other.pixels is None or _same_pixels(one, one.pixels, other, other.pixels)


def same_pixels(one: Header, other: Header) -> bool:
    """Tell whether two files have the same pixels after decoding, as those without any have."""
    if one.pixels is None or other.pixels is None:
        return one.pixels is other.pixels
    if any(integer(one.dataset, keyword) != integer(other.dataset, keyword) for keyword in _SHAPE):
        return False
    if integer(one.dataset, "NumberOfFrames", 1) != integer(other.dataset, "NumberOfFrames", 1):
        return False
    return _same_pixels(one, one.pixels, other, other.pixels)


def _same_element(one: Header, first: Element, other: Header, second: Element) -> bool:
    if isinstance(first.value, Span) or isinstance(second.value, Span):
        return _same_span(one, first, other, second)
    left, right = first.value, second.value
    if isinstance(left, tuple) != isinstance(right, tuple):
        # A sequence that was once read with the dictionary of somebody else, and once passed on as UN.
        left, right = _as_items(left), _as_items(right)
    if isinstance(left, bytes) and isinstance(right, bytes):
        return same(first, second)
    if not isinstance(left, tuple) or not isinstance(right, tuple) or len(left) != len(right):
        return False
    return all(
        a.keys() == b.keys() and all(_same_element(one, a[tag], other, b[tag]) for tag in a)
        for a, b in zip(left, right, strict=True)
    )


def _as_items(value: bytes | tuple[DataSet, ...]) -> bytes | tuple[DataSet, ...]:
    """Return the items in an encoded sequence of VR UN (PS3.5 6.2.2 note), anything else as it is."""
    if not isinstance(value, bytes):
        return value
    items: list[DataSet] = []
    position = 0
    syntax = Syntax(implicit=True)
    try:
        while position < len(value):
            (group, number), (length,) = syntax.tag(value, position), syntax.long(value, position + 4)
            if group << 16 | number == SEQUENCE_END:
                break
            if group << 16 | number != ITEM:
                return value
            # The parser stops behind an item delimiter, which closes an item of undefined length.
            end = len(value) if length == 0xFFFFFFFF else position + 8 + length
            item, position = parse_dataset(value, position + 8, end, syntax)
            items.append(item)
    except Exception:  # not a sequence after all
        return value
    return tuple(items)


def _same_span(one: Header, first: Element, other: Header, second: Element) -> bool:
    """Compare values that are too long to be held; only where they are encoded alike."""
    left, right = first.value, second.value
    if not isinstance(left, Span) or not isinstance(right, Span) or one.deflated or other.deflated:
        return False
    if one.big_endian != other.big_endian and UNIT_SIZE.get(first.vr, 1) > 1:
        return False
    return _same_bytes(
        FileSource(one.path, left.offset, left.length), FileSource(other.path, right.offset, right.length)
    )


def _same_bytes(one: FileSource, other: FileSource) -> bool:
    return one.length == other.length and all(a == b for a, b in zip_longest(one.chunks(), other.chunks()))


def _same_pixels(one: Header, first: PixelData, other: Header, second: PixelData) -> bool:
    if first.tag != second.tag:
        return False
    stored = not one.deflated and not other.deflated
    if stored and first.fragments is None and second.fragments is None and one.big_endian == other.big_endian:
        return _same_bytes(
            FileSource(one.path, first.offset, first.length), FileSource(other.path, second.offset, second.length)
        )
    if stored and first.fragments and second.fragments and one.transfer_syntax == other.transfer_syntax:
        pairs = zip(first.fragments, second.fragments, strict=False)
        if len(first.fragments) == len(second.fragments) and all(
            _same_bytes(FileSource(one.path, *a), FileSource(other.path, *b)) for a, b in pairs
        ):
            return True
    try:
        return same_decoded(one.path, other.path)
    except ObjectError as error:
        event("intake.not_decodable", instance=one.sop_instance, reason=error)
        return False
