"""Data elements as they are encoded: tag, VR and value bytes, untouched (PS3.5 section 7).

Values are held little endian and padded to even length, exactly as a little endian data set carries them. A sequence
is a tuple of data sets. Nothing is decoded unless asked: two values are the same when their bytes are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import NamedTuple

from gateway.errors import ObjectError
from gateway.objects.characters import character_sets
from gateway.standard import dictionary


@dataclass(frozen=True, slots=True)
class Span:
    """A value too long to be held in memory: where it stands in its file."""

    offset: int
    length: int


class Encapsulated(bytes):
    """Compressed pixels of an icon: items and the delimiter behind them, encoded with undefined length (PS3.5 A.4)."""


class Element(NamedTuple):
    """One data element.

    Attributes
    ----------
    tag : int
        Group and element number as one 32-bit number.
    vr : str
        Value representation; that of the data dictionary where the encoding has none.
    value : bytes, tuple of DataSet, or Span
        Encoded value, items of a sequence, or the place of a very long value.
    """

    tag: int
    vr: str
    value: bytes | tuple[DataSet, ...] | Span


DataSet = dict[int, Element]

# VRs whose explicit encoding has two reserved bytes and a 32-bit length (PS3.5 table 7.1-1).
LONG_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))

# All others (PS3.5 7.1.2).
SHORT_VRS = frozenset(
    (
        "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM",
        "UI", "UL", "US",
    )
)  # fmt: skip

# Size of the unit that byte order applies to (PS3.5 7.3), for binary VRs only.
UNIT_SIZE = {
    "AT": 2, "OW": 2, "SS": 2, "US": 2,
    "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4,
    "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8,
}  # fmt: skip

# Codes of module struct of the VRs that hold numbers in binary.
NUMBER_CODES = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "SV": "q", "UV": "Q", "OW": "H"}

# VRs padded with NUL, all other text with space (PS3.5 6.2).
_NUL_PADDED = frozenset(("UI", "OB", "UN"))

# VRs whose values are bytes: a zero or a space at the end is no padding there but may be all there is.
_BYTES = frozenset((*UNIT_SIZE, "OB", "UN"))


@lru_cache(maxsize=8192)
def tag_of(keyword: str) -> int:
    """Return the tag of a standard attribute's keyword."""
    tag = dictionary.tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(f"{keyword} is no keyword of the data dictionary")
    return tag


def tag_text(tag: int) -> str:
    """Return ``(gggg,eeee)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@lru_cache(maxsize=16384)
def standard_vr(tag: int) -> str:
    """Return the VR of a standard element as the data dictionary has it, ``UN`` if unknown.

    May be ambiguous (``US or SS``), to be settled with `settle_vr`.
    """
    if tag & 0xFFFF == 0:
        return "UL"
    entry = dictionary.entry_of(tag)
    return entry[0] if entry else "UN"


@lru_cache(maxsize=16384)
def private_vr(tag: int, creator: str) -> str:
    """Return the VR of a private element of `creator`, ``UN`` if unknown."""
    return dictionary.private_vr(tag, creator) or "UN"


def settle_vr(vr: str, signed: bool) -> str:
    """Choose among the VRs that the data dictionary leaves open, as implicit VR needs (PS3.5 A.1)."""
    if " or " not in vr:
        return vr
    if "OW" in vr:
        return "OW"
    return "SS" if signed else "US"


def is_private(tag: int) -> bool:
    """Tell whether the element is private (odd group)."""
    return bool(tag >> 16 & 1)


def make(keyword: str, *values: str | int | float, vr: str | None = None) -> Element:
    """Encode values of a standard attribute.

    Parameters
    ----------
    keyword : str
        Keyword of the attribute.
    *values
        Strings for text, numbers for binary VRs; none gives an empty element.
    vr : str, optional
        VR where the data dictionary leaves a choice.
    """
    tag = tag_of(keyword)
    vr = vr or settle_vr(standard_vr(tag), signed=False)
    if vr in NUMBER_CODES:
        return Element(tag, vr, b"".join(struct.pack("<" + NUMBER_CODES[vr], value) for value in values))
    return Element(tag, vr, padded("\\".join(str(value) for value in values).encode("latin-1"), vr))


def sequence(keyword: str, *items: DataSet) -> Element:
    """Make a sequence element of `items`."""
    return Element(tag_of(keyword), "SQ", tuple(items))


def dataset(*elements: Element) -> DataSet:
    """Make a data set of `elements`, in order of their tags."""
    return {element.tag: element for element in sorted(elements, key=lambda element: element.tag)}


@lru_cache(maxsize=1024)
def empty(tag: int) -> Element:
    """Return a standard element without a value."""
    vr = settle_vr(standard_vr(tag), signed=False)
    return Element(tag, vr, () if vr == "SQ" else b"")


def padded(value: bytes, vr: str) -> bytes:
    """Return `value` padded to even length as its VR wants."""
    if len(value) % 2:
        value += b"\0" if vr in _NUL_PADDED else b" "
    return value


# What text is padded with.
_PADDING = b" \0"


def stripped(value: bytes) -> bytes:
    """Return `value` without its padding at the end."""
    return value.rstrip(_PADDING)


def is_empty(element: Element | None) -> bool:
    """Tell whether an element is absent or has no value, which is the same for a comparison (Sup 157 FG)."""
    if element is None:
        return True
    _, vr, value = element
    if not value:
        return True
    # Asked of every element of every source, several times: few values end in padding.
    return isinstance(value, bytes) and value[-1] in _PADDING and vr not in _BYTES and not stripped(value)


def same(one: Element, other: Element) -> bool:
    """Tell whether two values mean the same: numbers as text by their value, other text without its padding.

    What is binary, private bytes of unknown VR included, is the same when its bytes are. Sequences are compared item
    by item and element by element.
    """
    if one.value == other.value:
        return True
    if one.vr != other.vr or one.vr in _BYTES:
        return False
    if isinstance(one.value, tuple) and isinstance(other.value, tuple):
        return len(one.value) == len(other.value) and all(map(same_items, one.value, other.value))
    if not isinstance(one.value, bytes) or not isinstance(other.value, bytes):
        return False
    if stripped(one.value) == stripped(other.value):
        return True
    return one.vr in ("DS", "IS") and _same_numbers(one.value, other.value)


def same_items(one: DataSet, other: DataSet) -> bool:
    """Tell whether two items have the same attributes with the same meaning; an empty one is as good as none."""
    if one == other:
        return True
    for tag in one.keys() | other.keys():
        a, b = one.get(tag), other.get(tag)
        if a is None or b is None:
            if not is_empty(a if b is None else b):
                return False
        elif not same(a, b):
            return False
    return True


def _same_numbers(one: bytes, other: bytes) -> bool:
    """Tell whether decimal or integer strings have the same values, however they are written."""
    first, second = one.split(b"\\"), other.split(b"\\")
    try:
        return len(first) == len(second) and all(
            Decimal(a.strip(b" \0").decode("ascii")) == Decimal(b.strip(b" \0").decode("ascii"))
            for a, b in zip(first, second, strict=True)
        )
    except (InvalidOperation, UnicodeDecodeError):
        return False


def raw(ds: DataSet, keyword: str | int) -> bytes:
    """Return the value bytes, those of text without padding, empty when absent."""
    element = ds.get(keyword if isinstance(keyword, int) else tag_of(keyword))
    if element is None or not isinstance(element.value, bytes):
        return b""
    return element.value if element.vr in _BYTES and element.vr != "UN" else stripped(element.value)


def text(ds: DataSet, keyword: str | int, default: str = "") -> str:
    """Return the whole value as text of the default repertoire, `default` when empty."""
    return raw(ds, keyword).decode("latin-1").strip() or default


def texts(ds: DataSet, keyword: str | int) -> tuple[str, ...]:
    """Return the values of a multi-valued text attribute."""
    value = raw(ds, keyword).decode("latin-1")
    return tuple(part.strip() for part in value.split("\\")) if value else ()


def decoded(ds: DataSet, keyword: str | int) -> str:
    """Return the value as Unicode, by the Specific Character Set of `ds` (PS3.5 6.1)."""
    tag = keyword if isinstance(keyword, int) else tag_of(keyword)
    if not (encoded := raw(ds, tag)):
        return ""
    return "\\".join(character_sets(texts(ds, "SpecificCharacterSet")).texts(encoded, ds[tag].vr)).strip()


def numbers(ds: DataSet, keyword: str | int) -> tuple[float, ...]:
    """Return the values of a numeric attribute, binary or text.

    Raises
    ------
    ObjectError
        If a value is not a number.
    """
    tag = keyword if isinstance(keyword, int) else tag_of(keyword)
    element = ds.get(tag)
    if element is None or not isinstance(element.value, bytes):
        return ()
    code = NUMBER_CODES.get(element.vr)
    if code:
        size = struct.calcsize(code)
        return struct.unpack(f"<{len(element.value) // size}{code}", element.value[: len(element.value) // size * size])
    found = texts(ds, tag)
    try:
        return tuple(float(part) for part in found if part)
    except ValueError:
        raise ObjectError(tag_text(tag), "is not a number", found="\\".join(found), expected="numbers") from None


def integer(ds: DataSet, keyword: str | int, default: int | None = None) -> int | None:
    """Return the first value as a whole number, `default` when empty or not a number."""
    try:
        values = numbers(ds, keyword)
        return int(values[0]) if values else default
    except (ObjectError, ValueError, OverflowError):
        return default


def items(ds: DataSet, keyword: str | int) -> tuple[DataSet, ...]:
    """Return the items of a sequence, none when it is absent."""
    element = ds.get(keyword if isinstance(keyword, int) else tag_of(keyword))
    return element.value if element is not None and isinstance(element.value, tuple) else ()
