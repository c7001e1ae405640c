"""A header as a flat run of tokens, the same for every encoding of the same elements.

For comparing two encodings without a tree of either: the header of an object with thousands of frames is long. What
holds items is a run of tokens whatever its VR says: explicit VR may call a sequence UN where implicit VR, or whoever
reads it with another dictionary, has SQ (PS3.5 6.2.2).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterator
from itertools import zip_longest
from typing import NamedTuple

from gateway.errors import ObjectError
from gateway.objects.elements import UNIT_SIZE, DataSet, Element, Encapsulated, tag_text
from gateway.objects.parse import (
    DEEPEST,
    ITEM,
    ITEM_END,
    PIXEL_REPRESENTATION,
    PIXEL_TAGS,
    SEQUENCE_END,
    SIGNED,
    UNDEFINED,
    Syntax,
    element_head_at,
    fragments_at,
    swapped,
    vr_by_dictionary,
)

# VRs of which an undefined length means fragments, not items with elements (PS3.5 A.4).
FRAGMENTED = frozenset(("OB", "OW"))

# What the items in a value of unknown VR begin with; of none there may be the delimiter.
_BEGINNINGS = (b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0")


class Token(NamedTuple):
    """A piece of a header.

    Attributes
    ----------
    depth : int
        How many sequences it is inside of.
    tag : int
        Of an element; `ITEM` where an item begins, `SEQUENCE_END` where a sequence ends.
    vr : str
        Of an element, as it is encoded or by the dictionary.
    value : bytes or None
        Little endian; None where a sequence begins, and of what is no element. `Encapsulated` for compressed pixels.
    """

    depth: int
    tag: int
    vr: str
    value: bytes | None


def tokens(buffer: bytes, position: int, end: int, syntax: Syntax, *, depth: int = 0) -> Generator[Token, None, int]:
    """Yield the elements from an offset on, those of sequences in place, group lengths left out.

    Parameters
    ----------
    buffer : bytes
        An encoded data set, of which everything before the pixel data is there.
    position, end : int
        Where to begin, and where at the latest to end.
    syntax : Syntax
        Its encoding.
    depth : int
        How many sequences these elements are inside of. In none, pixel data are those of the object: they end it.

    Returns
    -------
    int
        Offset behind the last element, or behind the end of the item.

    Raises
    ------
    ObjectError
        If an element does not end where it should.
    """
    if depth > DEEPEST:
        raise ObjectError("data set", "sequences are nested too deeply", expected=f"at most {DEEPEST}")
    seen: DataSet = {}
    while position < end:
        if end - position < 8:
            raise ObjectError("data set", "is truncated")
        group, number = syntax.tag(buffer, position)
        tag = group << 16 | number
        if tag == ITEM_END:
            _check_delimiter(buffer, position, syntax)
            return position + 8
        vr, length, position = element_head_at(buffer, position, end, tag, syntax, seen)
        if not depth and tag in PIXEL_TAGS:
            yield Token(depth, tag, vr, None)
            return position
        stop = _stop(tag, vr, length, buffer, position, end, syntax)
        if length == UNDEFINED and stop >= 0:
            yield Token(depth, tag, vr, Encapsulated(buffer[position:stop]))
            position = stop
        elif length == UNDEFINED or (vr == "SQ" and not group & 1):
            yield Token(depth, tag, "SQ", None)
            inner = Syntax(implicit=True, strict=syntax.strict) if vr == "UN" else syntax
            position = yield from _items(buffer, position, end if stop < 0 else stop, inner, depth + 1, stop < 0)
            yield Token(depth, SEQUENCE_END, "", None)
        else:
            value = buffer[position:stop]
            position = stop
            if number:
                yield from _defined(Token(depth, tag, vr, value), syntax, seen)
    return position


def _check_delimiter(buffer: bytes, position: int, syntax: Syntax) -> None:
    if syntax.strict and syntax.long(buffer, position + 4)[0]:
        raise ObjectError("sequence", "has a delimiter with a length")


def _stop(tag: int, vr: str, length: int, buffer: bytes, position: int, end: int, syntax: Syntax) -> int:
    """Return the offset behind a value, -1 if its end is marked in what it holds."""
    if length == UNDEFINED:
        if tag in PIXEL_TAGS or (vr in FRAGMENTED and not syntax.implicit):
            return fragments_at(buffer, position, end, syntax)[1]
        return -1
    if position + length > end:
        raise ObjectError(tag_text(tag), "the data set is truncated")
    return position + length


def _defined(token: Token, syntax: Syntax, seen: DataSet) -> Iterator[Token]:
    """Yield an element of known length: itself, or the items that its value is."""
    depth, tag, vr, value = token
    assert value is not None
    if syntax.big_endian and vr in UNIT_SIZE:
        value = swapped(value, UNIT_SIZE[vr])
    # Whoever has no VR takes for items what looks like them, in whatever VR it was.
    if vr in ("UN", "SQ") or not value or value.startswith(_BEGINNINGS):
        known = vr == "SQ" or vr_by_dictionary(tag, seen, syntax.signed) == "SQ"
        inside = items_of(value, syntax if vr == "SQ" else None, known=known, depth=depth)
        if inside is not None:
            yield Token(depth, tag, "SQ", None)
            yield from inside
            yield Token(depth, SEQUENCE_END, "", None)
            return
    if tag == PIXEL_REPRESENTATION or (tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF):
        seen[tag] = Element(tag, vr, value)
        if tag == PIXEL_REPRESENTATION and not depth:
            syntax.signed = value == SIGNED
    yield Token(depth, tag, vr, value)


def items_of(value: bytes, syntax: Syntax | None, *, known: bool, depth: int = 0) -> list[Token] | None:
    """Return what the items in a value of known length hold, None if it holds no items.

    Parameters
    ----------
    value : bytes
        All of it.
    syntax : Syntax or None
        How its items are encoded; None for a value of VR UN, which is Implicit VR Little Endian (PS3.5 6.2.2), though
        some writers leave it explicit.
    known : bool
        Whether the dictionary calls it a sequence; then no value is no item.
    depth : int
        Of the element.
    """
    if not value:
        return [] if known else None
    if syntax is None and not value.startswith(_BEGINNINGS):
        return None
    found = _walked(value, syntax or Syntax(implicit=True), depth)
    return _walked(value, Syntax(), depth) if found is None and syntax is None and known else found


def _walked(value: bytes, syntax: Syntax, depth: int) -> list[Token] | None:
    try:
        return list(_items(value, 0, len(value), syntax, depth + 1, False))
    except (ObjectError, struct.error):
        return None


def _items(
    buffer: bytes, position: int, stop: int, syntax: Syntax, depth: int, marked: bool
) -> Generator[Token, None, int]:
    """Yield the items of a sequence and return the offset behind it; `marked` if a delimiter ends it."""
    while position < stop:
        if stop - position < 8:
            raise ObjectError("sequence", "is truncated")
        group, number = syntax.tag(buffer, position)
        length = syntax.long(buffer, position + 4)[0]
        if group << 16 | number == SEQUENCE_END:
            _check_delimiter(buffer, position, syntax)
        position += 8
        if group << 16 | number == SEQUENCE_END:
            if not marked and position != stop:
                raise ObjectError("sequence", "ends before its length does")
            return position
        if group << 16 | number != ITEM:
            raise ObjectError("sequence", "is broken", found=tag_text(group << 16 | number), expected="an item")
        yield Token(depth, ITEM, "", None)
        end = stop if length == UNDEFINED else position + length
        if end > stop:
            raise ObjectError("sequence", "an item is longer than its sequence", found=length)
        position = yield from tokens(buffer, position, end, syntax, depth=depth)
        if length != UNDEFINED:
            position = end
    if marked:
        raise ObjectError("sequence", "has no end")
    return position


# A difference that was wanted: of what is there, and what has become of it.
Wanted = Callable[[Token, Token], bool]


def check_same(
    one: bytes,
    syntax: Syntax,
    other: bytes,
    other_syntax: Syntax,
    *,
    wanted: Wanted = lambda before, after: False,
    dropped: frozenset[int] = frozenset(),
) -> None:
    """Compare two encodings of one header down to the last nested element: tags, order, value bytes, explicit VRs.

    Parameters
    ----------
    one, other : bytes
        What is there, and what has become of it.
    syntax, other_syntax : Syntax
        How each is encoded.
    wanted : callable
        Whether a difference between two tokens is one that was wanted.
    dropped : frozenset of int
        Elements of the data set itself that are left out of the other on purpose.

    Raises
    ------
    ObjectError
        If they differ.
    """
    explicit = not syntax.implicit and not other_syntax.implicit
    left = (token for token in tokens(one, 0, len(one), syntax) if token.depth or token.tag not in dropped)
    for before, after in zip_longest(left, tokens(other, 0, len(other), other_syntax)):
        if before is not None and after is not None:
            same = before.value == after.value and type(before.value) is type(after.value)
            same = same and (before.vr == after.vr or not explicit)
            if before[:2] == after[:2] and (same or wanted(before, after)):
                continue
        tag = (before or after or Token(0, 0, "", None)).tag
        raise ObjectError(tag_text(tag), "would be lost or changed by re-encoding")
