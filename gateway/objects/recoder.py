"""Elements from one native encoding to another: explicit or implicit VR, from either byte order to little endian.

Element by element on bytes: no tree of the header of a long object is ever held. Sequences get undefined lengths, group
lengths are left out, everything else keeps its value. What cannot be carried over raises; what has been carried over
is for `gateway.objects.tokens` to compare.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType

from gateway.errors import ObjectError
from gateway.objects.elements import UNIT_SIZE, DataSet, Element, integer, tag_text
from gateway.objects.encode import SEQUENCE_STOP, element_head
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
from gateway.objects.tokens import FRAGMENTED, items_of

_OPEN_ITEM = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
_CLOSE_ITEM = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00"

_WAVEFORM_BITS_ALLOCATED = 0x54001004
_IMAGE_PIXEL_GROUP = 0x0028
_BITS_ALLOCATED = 0x00280100
_TELLING = frozenset((PIXEL_REPRESENTATION, _WAVEFORM_BITS_ALLOCATED, _BITS_ALLOCATED))

# Decodes compressed pixels inside a sequence: the elements of the item that say what they are, and their fragments
# with the Basic Offset Table before them.
Unpack = Callable[[DataSet, bytes], bytes]

# What values of private elements look like if the dictionary, which may know another version of the software, is right
# about their VR. All others go as they are, of unknown VR (PS3.5 6.2.2).
_TEXT = re.compile(rb"[^\0-\x08\x0b\x0e-\x1a]*")  # no control characters but those of PS3.5 6.1.3
_LOOKS: dict[str, re.Pattern[bytes]] = {
    "AS": re.compile(rb"(\d{3}[DWMY]?)*[ \\]*"),
    "CS": re.compile(rb"[A-Za-z0-9_ \\-]*"),
    "DA": re.compile(rb"[0-9.\\ -]*"),
    "DS": re.compile(rb"[0-9eE+.\\ -]*"),
    "DT": re.compile(rb"[0-9.+\\ -]*"),
    "IS": re.compile(rb"[0-9+\\ -]*"),
    "TM": re.compile(rb"[0-9.:\\ -]*"),
    "UI": re.compile(rb"[0-9.\\ ]*"),
    **dict.fromkeys(("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"), _TEXT),
}


class Recoder:
    """Rewrites elements.

    Parameters
    ----------
    syntax : Syntax
        Of what is there.
    to_implicit : bool
        Implicit instead of explicit VR, little endian both.
    unpack : callable, optional
        See `Unpack`; without it compressed pixels inside a sequence cannot be carried over.
    replaced : mapping of int to bytes
        Other values for elements of the data set itself.
    dropped : frozenset of int
        Elements of the data set itself that are left out.

    Attributes
    ----------
    pixel_vr : str
        VR of the pixel data of the object, once they have been met.
    """

    def __init__(
        self,
        syntax: Syntax,
        to_implicit: bool,
        unpack: Unpack | None = None,
        replaced: Mapping[int, bytes] = MappingProxyType({}),
        dropped: frozenset[int] = frozenset(),
    ) -> None:
        self.syntax = syntax
        self.to_implicit = to_implicit
        self._unpack = unpack
        self._replaced = replaced
        self._dropped = dropped
        self._unpacked = 0
        self.pixel_vr = ""

    def recode(self, buffer: bytes, position: int, end: int, out: bytearray, depth: int = 0) -> tuple[int, int]:
        """Append the elements up to `end`, the end of an item, or the pixel data of the object.

        Returns
        -------
        int, int
            Offset where it stopped; length of pixel data there, of which the head is appended, else -1.

        Raises
        ------
        ObjectError
            If an element does not end where it should, or cannot be carried over.
        """
        if depth > DEEPEST:
            raise ObjectError("data set", "sequences are nested too deeply", expected=f"at most {DEEPEST}")
        seen: DataSet = {}
        while position < end:
            if end - position < 8:
                raise ObjectError("data set", "is truncated")
            group, number = self.syntax.tag(buffer, position)
            tag = group << 16 | number
            if tag == ITEM_END:
                return position + 8, -1
            vr, length, position = element_head_at(buffer, position, end, tag, self.syntax, seen)
            if not depth and tag in PIXEL_TAGS:
                self.pixel_vr = vr if vr != "UN" else "OW"
                self._check_words(tag, self.pixel_vr, seen)
                out += element_head(tag, self.pixel_vr, length, implicit=self.to_implicit)
                return position, length
            if length == UNDEFINED:
                position = self._unbounded(buffer, position, end, tag, vr, out, seen, depth)
                continue
            stop = position + length
            if stop > end:
                raise ObjectError(tag_text(tag), "the data set is truncated")
            if number and (depth or tag not in self._dropped):
                self._bounded(buffer, position, stop, tag, vr, out, seen, depth)
            position = stop
        return position, -1

    def _check_words(self, tag: int, vr: str, seen: DataSet) -> None:
        """Refuse samples of which nobody can tell how they were written.

        Those of 32 bits are two words each (PS3.5 8.1.1), low word first in either byte order by the text; some writers
        turn round all four bytes.
        """
        bits = integer(seen, _BITS_ALLOCATED, 16) or 16
        if self.syntax.big_endian and vr == "OW" and bits > 16:
            raise ObjectError(tag_text(tag), "has samples of more than 16 bits in big endian words, read in two ways")

    # What has an end of its own

    def _unbounded(
        self, buffer: bytes, position: int, end: int, tag: int, vr: str, out: bytearray, seen: DataSet, depth: int
    ) -> int:
        """Append a value of undefined length: items, or compressed pixels, which no native syntax has."""
        explicit = not self.syntax.implicit
        if tag in PIXEL_TAGS or (vr in FRAGMENTED and explicit):
            stop = fragments_at(buffer, position, end, self.syntax)[1]
            if self._unpack is None or tag not in PIXEL_TAGS:
                raise ObjectError(tag_text(tag), "is compressed, which native transfer syntaxes have no place for")
            value = self._unpack(seen, buffer[position:stop])
            self._unpacked += 1
            out += element_head(tag, vr if vr in FRAGMENTED else "OW", len(value), implicit=self.to_implicit)
            out += value
            return stop
        inner = self
        if vr == "UN" and explicit:
            # Implicit VR inside (PS3.5 6.2.2); it stays what it is where VRs are written.
            out += element_head(tag, "UN", UNDEFINED, implicit=self.to_implicit)
            inner = self._inside(Syntax(implicit=True))
        else:
            out += element_head(tag, "SQ", UNDEFINED, implicit=self.to_implicit)
        position = inner._items(buffer, position, end, True, out, depth + 1)
        self._unpacked += inner._unpacked if inner is not self else 0
        out += SEQUENCE_STOP
        return position

    def _inside(self, syntax: Syntax) -> Recoder:
        """Return who rewrites what is inside of a value of VR UN, to implicit VR as well."""
        return Recoder(syntax, True, self._unpack)

    # What has a length

    def _bounded(
        self, buffer: bytes, position: int, stop: int, tag: int, vr: str, out: bytearray, seen: DataSet, depth: int
    ) -> None:
        """Append a value of known length."""
        if vr == "SQ" and self._sequence(buffer, position, stop, tag, out, seen, depth):
            return
        value = buffer[position:stop]
        if vr in ("UN", "SQ"):
            vr = "UN"
            if self._unknown(value, tag, out, seen, depth):
                return
        elif value and self._would_be_items(tag, seen):
            raise ObjectError(tag_text(tag), f"is {vr}, and would be taken for a sequence in implicit VR")
        if self.syntax.big_endian and vr in UNIT_SIZE:
            value = swapped(value, UNIT_SIZE[vr])
        if not depth:
            value = self._replaced.get(tag, value)
        self._remember(tag, vr, value, seen, depth)
        if self.syntax.implicit and not self.to_implicit:
            vr = _explicit_vr(tag, vr, value, seen)
        out += element_head(tag, vr, len(value), implicit=self.to_implicit)
        out += value

    def _would_be_items(self, tag: int, seen: DataSet) -> bool:
        """Tell whether whoever has no VR any more would take an element for a sequence."""
        loses_vr = self.to_implicit and not self.syntax.implicit
        return loses_vr and vr_by_dictionary(tag, seen, self.syntax.signed) == "SQ"

    def _remember(self, tag: int, vr: str, value: bytes, seen: DataSet, depth: int) -> None:
        """Keep what says how later elements of the same item are to be read."""
        group, number = tag >> 16, tag & 0xFFFF
        creator = group & 1 and 0x10 <= number <= 0xFF
        if creator or tag in _TELLING or (depth and group == _IMAGE_PIXEL_GROUP):
            seen[tag] = Element(tag, vr, value)
            if tag == PIXEL_REPRESENTATION and not depth:
                self.syntax.signed = value == SIGNED

    def _sequence(
        self, buffer: bytes, position: int, stop: int, tag: int, out: bytearray, seen: DataSet, depth: int
    ) -> bool:
        """Append a sequence; False if it is none: dictionaries know private elements of other versions, too."""
        mark = len(out)
        out += element_head(tag, "SQ", UNDEFINED, implicit=self.to_implicit)
        try:
            self._items(buffer, position, stop, False, out, depth + 1)
        except (ObjectError, struct.error):
            if not (self.syntax.implicit and tag >> 16 & 1):
                raise
            if items_of(buffer[position:stop], self.syntax, known=True, depth=depth) is not None:
                raise  # a sequence it is, of something that cannot be carried over
            del out[mark:]
            return False
        out += SEQUENCE_STOP
        return True

    def _unknown(self, value: bytes, tag: int, out: bytearray, seen: DataSet, depth: int) -> bool:
        """Append a value of unknown VR if it has to be taken apart for it; False if it goes as it is.

        In implicit VR it is read by the dictionary: what that calls a sequence has to be one (PS3.5 6.2.2). Elsewhere
        only pixels that must not stay compressed are of interest.
        """
        known = not self.syntax.implicit and vr_by_dictionary(tag, seen, self.syntax.signed) == "SQ"
        if items_of(value, None, known=known, depth=depth) is None:
            if known and self.to_implicit:
                raise ObjectError(tag_text(tag), "holds no items, and would be taken for a sequence in implicit VR")
            return False
        as_implicit = items_of(value, Syntax(implicit=True), known=True, depth=depth) is not None
        inner = self._inside(Syntax(implicit=as_implicit))
        made = bytearray()
        inner._items(value, 0, len(value), False, made, depth + 1)
        if not inner._unpacked and not (known and self.to_implicit):
            return False
        self._unpacked += inner._unpacked
        out += element_head(tag, "UN", UNDEFINED, implicit=self.to_implicit)
        out += made
        out += SEQUENCE_STOP
        return True

    def _items(self, buffer: bytes, position: int, stop: int, marked: bool, out: bytearray, depth: int) -> int:
        """Append the items of a sequence and return the offset behind it; `marked` if a delimiter ends it."""
        while position < stop:
            if stop - position < 8:
                raise ObjectError("sequence", "is truncated")
            group, number = self.syntax.tag(buffer, position)
            length = self.syntax.long(buffer, position + 4)[0]
            position += 8
            if group << 16 | number == SEQUENCE_END:
                return position
            if group << 16 | number != ITEM:
                raise ObjectError("sequence", "is broken", found=tag_text(group << 16 | number), expected="an item")
            end = stop if length == UNDEFINED else position + length
            if end > stop:
                raise ObjectError("sequence", "the data set is truncated")
            out += _OPEN_ITEM
            position = self.recode(buffer, position, end, out, depth)[0]
            out += _CLOSE_ITEM
            if length != UNDEFINED:
                position = end
        if marked:
            raise ObjectError("sequence", "the data set is truncated")
        return position


def _explicit_vr(tag: int, vr: str, value: bytes, seen: DataSet) -> str:
    """Return the VR that a value is written with which had none (PS3.5 6.2.2, A.1)."""
    if len(value) % UNIT_SIZE.get(vr, 1):
        return "UN"
    if tag >> 16 & 1:
        look = _LOOKS.get(vr)
        return vr if look is None or look.fullmatch(value.removesuffix(b"\0")) else "UN"
    if vr == "OW" and tag >> 16 == 0x5400:
        # Waveform Data and what is like it: single bytes if that is what is allocated (PS3.3 C.10.9.1).
        bits = seen.get(_WAVEFORM_BITS_ALLOCATED)
        return "OB" if bits is not None and bits.value == b"\x08\0" else "OW"
    return vr
