"""Data elements to bytes, little endian, explicit or implicit VR (PS3.5 section 7)."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from gateway.errors import ObjectError
from gateway.objects.elements import LONG_VRS, DataSet, Element, Encapsulated, Span, tag_text

_ITEM = struct.Struct("<HHI")
_SHORT = struct.Struct("<HH2sH")
_LONG = struct.Struct("<HH2sHI")
_LONG_CODES = {vr: vr.encode() for vr in LONG_VRS}


def encode(ds: DataSet, *, implicit: bool = False) -> bytes:
    """Encode the elements of `ds` in the order of their tags, sequences with defined lengths."""
    return b"".join(_parts((ds[tag] for tag in sorted(ds)), implicit))


def _parts(elements: Iterable[Element], implicit: bool = False) -> list[bytes]:
    parts: list[bytes] = []
    for tag, vr, value in elements:
        if isinstance(value, Span):
            raise ObjectError(tag_text(tag), "is too long to be copied", found=f"{value.length} bytes")
        if isinstance(value, tuple):
            value = b"".join(encode_item(item, implicit=implicit) for item in value)
        length = 0xFFFFFFFF if isinstance(value, Encapsulated) else len(value)
        parts.append(element_head(tag, vr, length, implicit=implicit))
        parts.append(value)
    return parts


def encode_item(item: DataSet, *, implicit: bool = False) -> bytes:
    """Encode one item of a sequence with defined length."""
    content = encode(item, implicit=implicit)
    return _ITEM.pack(0xFFFE, 0xE000, len(content)) + content


def element_head(tag: int, vr: str, length: int, *, implicit: bool = False) -> bytes:
    """Encode tag, VR and length of an element."""
    group, number = tag >> 16, tag & 0xFFFF
    if implicit:
        return _ITEM.pack(group, number, length)
    code = _LONG_CODES.get(vr)
    if code is not None:
        return _LONG.pack(group, number, code, 0, length)
    if length > 0xFFFF:
        # A value that its VR cannot carry explicitly goes as UN (PS3.5 6.2.2 note).
        return _LONG.pack(group, number, b"UN", 0, length)
    return _SHORT.pack(group, number, vr.encode("latin-1"), length)


def sequence_start(tag: int, *, implicit: bool = False) -> bytes:
    """Encode the head of a sequence of undefined length."""
    return element_head(tag, "SQ", 0xFFFFFFFF, implicit=implicit)


SEQUENCE_STOP = _ITEM.pack(0xFFFE, 0xE0DD, 0)


def item_head(length: int) -> bytes:
    """Encode the head of an item of `length` bytes, as sequences and encapsulated pixel data have them."""
    return _ITEM.pack(0xFFFE, 0xE000, length)
