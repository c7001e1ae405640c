"""Bytes to data elements: explicit and implicit VR, either byte order (PS3.5 section 7 and annex A)."""

from __future__ import annotations

import array
import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gateway.errors import ObjectError
from gateway.objects.elements import (
    LONG_VRS,
    SHORT_VRS,
    UNIT_SIZE,
    DataSet,
    Element,
    Encapsulated,
    Span,
    padded,
    private_vr,
    settle_vr,
    standard_vr,
    tag_text,
)

UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD

PIXEL_TAGS = frozenset((0x7FE00010, 0x7FE00008, 0x7FE00009))
PIXEL_REPRESENTATION = 0x00280103
SIGNED = b"\1\0"

# A longer value stays in its file: the memory of a reader must not depend on what a peer sends.
LONGEST_HELD = 16 << 20
LONGEST_ICON = 1 << 20
DEEPEST = 64

_LONG_VR_CODES = {vr.encode() for vr in LONG_VRS}
_VR_NAMES: dict[bytes, str] = {}

# Most elements of most files are explicit VR little endian and hold a plain value: those VRs, read without detours.
_PLAIN_SHORT = {vr.encode(): vr for vr in SHORT_VRS}
_PLAIN_LONG = {vr.encode(): vr for vr in LONG_VRS if vr != "SQ"}
_EXPLICIT_HEAD = struct.Struct("<HH2sH").unpack_from
_LONG_LENGTH = struct.Struct("<I").unpack_from


@dataclass
class Syntax:
    """How a data set is encoded."""

    implicit: bool = False
    big_endian: bool = False
    irregular: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)  # those of which a copy might lose something
    signed: bool = False  # pixels of the data set, by which implicit VR settles what sequences inside it hold
    strict: bool = False  # what `tokens` reads was written here: delimiters have a length of 0
    left: frozenset[int] = frozenset()  # sequences of the data set itself that stay in their file

    def __post_init__(self) -> None:
        order = ">" if self.big_endian else "<"
        self.tag: Callable[..., tuple[int, ...]] = struct.Struct(order + "HH").unpack_from
        self.short: Callable[..., tuple[int, ...]] = struct.Struct(order + "H").unpack_from
        self.long: Callable[..., tuple[int, ...]] = struct.Struct(order + "I").unpack_from

    def doubt(self, note: str) -> None:
        """Note an irregularity that hides or loses something."""
        self.irregular.append(note)
        self.doubtful.append(note)

    def implicit_inside(self) -> Syntax:
        """Return the syntax of a sequence of VR UN, its notes added to these."""
        return Syntax(True, False, self.irregular, self.doubtful, self.signed)


def parse_dataset(
    buffer: bytes | mmap.mmap, start: int, end: int, syntax: Syntax, *, stop_at_pixels: bool = False
) -> tuple[DataSet, int]:
    """Parse the elements between two offsets.

    Parameters
    ----------
    buffer : bytes or mmap
        The encoded data set.
    start, end : int
        Offsets of the first byte and of the byte after the last one.
    syntax : Syntax
        Its encoding; irregularities found on the way are added to it, and what is lost by them.
    stop_at_pixels : bool
        Stop before the pixel data element.

    Returns
    -------
    DataSet
        The elements, group lengths left out.
    int
        Offset of the first byte that was not parsed.

    Raises
    ------
    ObjectError
        If an element is longer than what is there.
    """
    elements: DataSet = {}
    position = _parse(buffer, start, end, syntax, elements, 0, stop_at_pixels)
    return elements, position


def _parse(
    buffer: bytes | mmap.mmap, position: int, end: int, syntax: Syntax, elements: DataSet, depth: int, stop: bool
) -> int:
    """Fill `elements` up to `end`, an item end (consumed) or the pixel data (not consumed)."""
    if depth > DEEPEST:
        raise ObjectError("data set", "sequences are nested too deeply", found=depth, expected=f"at most {DEEPEST}")
    explicit_little = not syntax.implicit and not syntax.big_endian
    while position < end:
        if explicit_little:
            position = _plain_elements(buffer, position, end, syntax, elements, depth)
            if position >= end:
                break
        if end - position < 8:
            raise ObjectError("data set", "is truncated", found=f"{end - position} bytes at {position}")
        group, number = syntax.tag(buffer, position)
        tag = group << 16 | number
        if tag == ITEM_END:
            if not depth:
                raise ObjectError("data set", "has the end of an item outside of a sequence", found=f"at {position}")
            return position + 8
        if stop and tag in PIXEL_TAGS:
            return position
        vr, length, position = element_head_at(buffer, position, end, tag, syntax, elements)
        if length != UNDEFINED and position + length > end:
            raise ObjectError(
                tag_text(tag), "the data set is truncated", found=f"{end - position} bytes", expected=f"{length} bytes"
            )
        value, position = _value(buffer, position, end, tag, vr, length, syntax, depth)
        if number == 0 and group != 2:
            continue  # group lengths say nothing about the object (PS3.5 7.2)
        if length == UNDEFINED and isinstance(value, tuple):
            vr = "SQ"
        if tag == PIXEL_REPRESENTATION and not depth:
            syntax.signed = value == SIGNED
        if tag in elements:
            syntax.doubt(f"{tag_text(tag)} appears twice")
        elements[tag] = Element(tag, vr, value)
    return position


def _plain_elements(
    buffer: bytes | mmap.mmap, position: int, end: int, syntax: Syntax, elements: DataSet, depth: int
) -> int:
    """Read elements of explicit VR little endian as long as nothing is special about them; return where that ends.

    Three quarters of the time of a conversion would go into reading headers without it.
    """
    make = tuple.__new__  # what Element._make does after counting to three
    last = end - 12
    while position <= last:
        group, number, code, length = _EXPLICIT_HEAD(buffer, position)
        if group >= 0x7FE0:  # pixel data, items and what else is not plain
            return position
        vr = _PLAIN_SHORT.get(code)
        start = position + 8
        if vr is None:
            vr = _PLAIN_LONG.get(code)
            if vr is None:
                return position
            length = _LONG_LENGTH(buffer, start)[0]
            start += 4
            if length > LONGEST_HELD:
                return position
        tag = group << 16 | number
        if length & 1 or start + length > end or not number or tag in elements:
            return position
        position = start + length
        value = buffer[start:position]
        if tag == PIXEL_REPRESENTATION and not depth:
            syntax.signed = value == SIGNED
        elements[tag] = make(Element, (tag, vr, value))
    return position


def element_head_at(
    buffer: bytes | mmap.mmap, position: int, end: int, tag: int, syntax: Syntax, elements: DataSet
) -> tuple[str, int, int]:
    """Return VR, length and offset of the value of the element at `position`."""
    if not syntax.implicit:
        code = buffer[position + 4 : position + 6]
        if code in _LONG_VR_CODES:
            if end - position < 12:
                raise ObjectError(tag_text(tag), "the data set is truncated")
            return _name(code), syntax.long(buffer, position + 8)[0], position + 12
        if code.isalpha() and code.isupper():
            return _name(code), syntax.short(buffer, position + 6)[0], position + 8
        # Some writers fall back to implicit VR for single elements; others write blanks as the VR.
        if code in (b"\0\0", b"  ", b"??", b"--"):
            syntax.irregular.append(f"{tag_text(tag)} has no value representation")
            vr = vr_by_dictionary(tag, elements, syntax.signed)
            return "UN" if vr == "SQ" else vr, syntax.short(buffer, position + 6)[0], position + 8
        syntax.irregular.append(f"{tag_text(tag)} has an invalid value representation")
    return vr_by_dictionary(tag, elements, syntax.signed), syntax.long(buffer, position + 4)[0], position + 8


def _name(code: bytes) -> str:
    name = _VR_NAMES.get(code)
    if name is None:
        name = _VR_NAMES[code] = code.decode("ascii")
    return name


def vr_by_dictionary(tag: int, elements: DataSet, signed: bool) -> str:
    """Return the VR that implicit encoding leaves to the dictionary, by what the data set says so far."""
    if tag >> 16 & 1:
        if tag & 0xFF00 == 0:
            return "LO" if tag & 0xFFFF >= 0x10 else "UN"
        creator = elements.get(tag & 0xFFFF0000 | (tag & 0xFF00) >> 8)
        if creator is None or not isinstance(creator.value, bytes):
            return "UN"
        vr = private_vr(tag, creator.value.decode("latin-1").strip(" \0"))
    else:
        vr = standard_vr(tag)
    if " or " in vr:
        sign = elements.get(PIXEL_REPRESENTATION)
        vr = settle_vr(vr, signed=signed if sign is None else sign.value == SIGNED)
    return vr


def _value(
    buffer: bytes | mmap.mmap, position: int, end: int, tag: int, vr: str, length: int, syntax: Syntax, depth: int
) -> tuple[bytes | tuple[DataSet, ...] | Span, int]:
    """Return the value at `position` and the offset behind it."""
    if length == UNDEFINED and tag in PIXEL_TAGS:
        # Compressed pixels of an icon: left in their file if there are many of them.
        start = position
        _, position = fragments_at(buffer, position, end, syntax)
        if position - start > LONGEST_ICON or syntax.big_endian:
            return Span(start, position - start), position
        return Encapsulated(buffer[start:position]), position
    if vr == "SQ" and not depth and tag in syntax.left:
        stop = end_of_items(buffer, position, end, length, syntax)
        return Span(position, stop - position), stop
    if vr == "SQ" or length == UNDEFINED:
        # Of unknown VR and undefined length: a sequence in implicit VR little endian (PS3.5 6.2.2 note).
        inner = syntax.implicit_inside() if vr == "UN" and not syntax.implicit else syntax
        stop = end if length == UNDEFINED else position + length
        return _items(buffer, position, stop, tag, length, inner, depth + 1)
    if length > LONGEST_HELD:
        return Span(position, length), position + length
    value = buffer[position : position + length]
    if length % 2:
        note = f"{tag_text(tag)} has odd length {length}"
        if vr in UNIT_SIZE or vr in ("OB", "UN"):
            syntax.doubt(note)
        else:
            syntax.irregular.append(note)
            value = padded(value, vr)
    if syntax.big_endian and vr in UNIT_SIZE:
        value = swapped(value, UNIT_SIZE[vr])
    return value, position + length


def _items(
    buffer: bytes | mmap.mmap, position: int, end: int, tag: int, length: int, syntax: Syntax, depth: int
) -> tuple[tuple[DataSet, ...], int]:
    """Return the items of a sequence that starts at `position`."""
    found: list[DataSet] = []
    while position < end:
        if end - position < 8:
            raise ObjectError(tag_text(tag), "the sequence is truncated")
        group, number = syntax.tag(buffer, position)
        item_length = syntax.long(buffer, position + 4)[0]
        position += 8
        if group << 16 | number == SEQUENCE_END:
            return tuple(found), position
        if group << 16 | number != ITEM:
            raise ObjectError(
                tag_text(tag), "the sequence is broken", found=tag_text(group << 16 | number), expected="an item"
            )
        item: DataSet = {}
        if item_length == UNDEFINED:
            position = _parse(buffer, position, end, syntax, item, depth, False)
        else:
            stop = position + item_length
            if stop > end:
                raise ObjectError(tag_text(tag), "an item is longer than its sequence", found=item_length)
            _parse(buffer, position, stop, syntax, item, depth, False)
            position = stop
        found.append(item)
    if length == UNDEFINED:
        raise ObjectError(tag_text(tag), "the sequence has no end")
    return tuple(found), position


def end_of_items(buffer: bytes | mmap.mmap, position: int, end: int, length: int, syntax: Syntax) -> int:
    """Return the offset behind a sequence whose items begin at `position`, its delimiter included."""
    if length != UNDEFINED:
        return position + length
    stop = position
    for _, _, stop in item_ranges(buffer, position, end, syntax):  # noqa: B007 - the last one counts
        pass
    if stop + 8 > end:
        raise ObjectError("sequence", "has no end")
    return stop + 8


def item_ranges(buffer: bytes | mmap.mmap, position: int, end: int, syntax: Syntax) -> Iterator[tuple[int, int, int]]:
    """Yield where the elements of each item of a sequence begin, their length, and the offset behind the item.

    Nothing is built of what they hold: of a sequence of thousands of items one can be read at a time.
    """
    while position < end:
        if end - position < 8:
            raise ObjectError("sequence", "is truncated")
        group, number = syntax.tag(buffer, position)
        length = syntax.long(buffer, position + 4)[0]
        start = position + 8
        if group << 16 | number == SEQUENCE_END:
            return
        if group << 16 | number != ITEM:
            raise ObjectError("sequence", "is broken", found=tag_text(group << 16 | number), expected="an item")
        position = start + length if length != UNDEFINED else _end_of_item(buffer, start, end, syntax)
        if position > end:
            raise ObjectError("sequence", "an item is longer than its sequence", found=length)
        yield start, (length if length != UNDEFINED else position - 8 - start), position


def _end_of_item(buffer: bytes | mmap.mmap, position: int, end: int, syntax: Syntax) -> int:
    """Return the offset behind the delimiter of an item of undefined length."""
    while position + 8 <= end:
        group, number = syntax.tag(buffer, position)
        tag = group << 16 | number
        if tag == ITEM_END:
            return position + 8
        vr, length, position = element_head_at(buffer, position, end, tag, syntax, {})
        if length != UNDEFINED:
            position += length
        elif tag in PIXEL_TAGS:
            _, position = fragments_at(buffer, position, end, syntax)
        else:
            inner = Syntax(True) if vr == "UN" and not syntax.implicit else syntax
            position = end_of_items(buffer, position, end, length, inner)
    raise ObjectError("sequence", "an item has no end")


def fragments_at(
    buffer: bytes | mmap.mmap, position: int, end: int, syntax: Syntax
) -> tuple[list[tuple[int, int]], int]:
    """Return offset and length of the items of encapsulated pixel data and the offset behind their delimiter."""
    found: list[tuple[int, int]] = []
    while True:
        if position + 8 > end:
            raise ObjectError("pixel data", "are truncated", found="no sequence delimiter")
        group, number = syntax.tag(buffer, position)
        length = syntax.long(buffer, position + 4)[0]
        position += 8
        if group << 16 | number == SEQUENCE_END:
            return found, position
        if group << 16 | number != ITEM or position + length > end:
            raise ObjectError("pixel data", "are truncated", found=f"fragment of {length} bytes at {position}")
        if length % 2:
            syntax.doubt(f"a fragment has odd length {length}")
        found.append((position, length))
        position += length


def swapped(value: bytes, size: int) -> bytes:
    """Return `value` with the byte order of its `size`-byte units turned round."""
    units = array.array({2: "H", 4: "I", 8: "Q"}[size])
    whole = len(value) // size * size
    units.frombytes(value[:whole])
    units.byteswap()
    return units.tobytes() + value[whole:]
