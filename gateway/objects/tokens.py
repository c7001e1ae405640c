"""A header as a flat run of tokens, the same for every encoding of the same elements.

For comparing two encodings without a tree of either: the header of an object with thousands of frames is long.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import zip_longest

from gateway.errors import ObjectError
from gateway.objects.elements import DataSet, Element, tag_text
from gateway.objects.parse import (
    ITEM,
    ITEM_END,
    PIXEL_REPRESENTATION,
    PIXEL_TAGS,
    SEQUENCE_END,
    UNDEFINED,
    Syntax,
    element_head_at,
)

# (tag, value) of an element; (tag, None) where a sequence begins, (ITEM, None) an item, (SEQUENCE_END, None) it ends.
Token = tuple[int, bytes | None]


def tokens(buffer: bytes, position: int, end: int, syntax: Syntax, *, top: bool = True) -> Generator[Token, None, int]:
    """Yield the elements from an offset on, those of sequences in place, group lengths left out.

    Parameters
    ----------
    buffer : bytes
        An encoded data set, of which everything before the pixel data is there.
    position, end : int
        Where to begin, and where at the latest to end.
    syntax : Syntax
        Its encoding.
    top : bool
        Whether pixel data found here are those of the object: they end the header.

    Returns
    -------
    int
        Offset behind the last element, or behind the end of the item.
    """
    seen: DataSet = {}
    while position < end:
        group, number = syntax.tag(buffer, position)
        tag = group << 16 | number
        if tag == ITEM_END:
            return position + 8
        vr, length, position = element_head_at(buffer, position, end, tag, syntax, seen)
        if top and tag in PIXEL_TAGS:
            yield tag, None
            return position
        if vr == "SQ" or length == UNDEFINED:
            inner = Syntax(implicit=True) if vr == "UN" else syntax
            yield tag, None
            position = yield from _items(buffer, position, end if length == UNDEFINED else position + length, inner)
            yield SEQUENCE_END, None
            continue
        value = buffer[position : position + length]
        position += length
        if tag == PIXEL_REPRESENTATION or (group & 1 and 0x10 <= number <= 0xFF):
            seen[tag] = Element(tag, vr, value)
        if number:
            yield tag, value
    return position


def _items(buffer: bytes, position: int, stop: int, syntax: Syntax) -> Generator[Token, None, int]:
    """Yield the items of a sequence and return the offset behind it."""
    while position < stop:
        group, number = syntax.tag(buffer, position)
        length = syntax.long(buffer, position + 4)[0]
        position += 8
        if group << 16 | number == SEQUENCE_END:
            return position
        yield ITEM, None
        end = stop if length == UNDEFINED else position + length
        position = yield from tokens(buffer, position, end, syntax, top=False)
    return position


def check_same(one: bytes, syntax: Syntax, other: bytes, other_syntax: Syntax) -> None:
    """Compare two encodings of one header, value bytes included.

    Raises
    ------
    ObjectError
        If they differ.
    """
    pairs = zip_longest(tokens(one, 0, len(one), syntax), tokens(other, 0, len(other), other_syntax))
    for token, again in pairs:
        if token != again:
            tag = (token or again or (0, None))[0]
            raise ObjectError(tag_text(tag), "is lost or changed by re-encoding", remedy="report this object")
