"""Elements as the data dictionary has them, whatever value representation they were encoded with.

Who does not know an attribute passes it on as VR UN, a sequence among them in implicit VR little endian (PS3.5 6.2.2
note 2); others encode a number as text, or text as bytes. Nothing here raises because of what stands in an element.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from gateway.errors import ObjectError
from gateway.objects.elements import (
    NUMBER_CODES,
    UNIT_SIZE,
    DataSet,
    Element,
    is_private,
    numbers,
    padded,
    standard_vr,
)
from gateway.objects.encode import element_head
from gateway.objects.parse import Syntax, parse_dataset

# VRs of bytes that only the dictionary gives a meaning.
_UNTYPED = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))

_NUMBERS = frozenset(NUMBER_CODES) - {"OW"}
_NUMERIC_TEXT = frozenset(("DS", "IS"))


def opened(element: Element) -> tuple[DataSet, ...] | None:
    """Return the items of a standard sequence, None if the element is none.

    Bytes of unknown VR are read as a sequence in implicit VR little endian (PS3.5 6.2.2 note 2).
    """
    if is_private(element.tag):
        return None
    if isinstance(element.value, tuple):
        return element.value
    if element.vr != "UN" or not isinstance(element.value, bytes) or standard_vr(element.tag) != "SQ":
        return None
    return _items(element.tag, element.value)


def _items(tag: int, value: bytes) -> tuple[DataSet, ...] | None:
    encoded = element_head(tag, "SQ", len(value), implicit=True) + value
    try:
        made = parse_dataset(encoded, 0, len(encoded), Syntax(implicit=True))[0][tag].value
    except (ObjectError, struct.error, LookupError):
        return None
    return made if isinstance(made, tuple) else None


def by_dictionary(element: Element, vr: str) -> Element | None:
    """Return an element with the value representation that the dictionary has for its tag.

    Parameters
    ----------
    element : Element
        A standard element as it is encoded.
    vr : str
        The one VR it should have.

    Returns
    -------
    Element or None
        None if it holds no value of that VR: items where there should be text, text where there should be a number, a
        number out of range, a value that is too long to be held.
    """
    tag, encoded_as, value = element
    if vr == "SQ":
        items = value if isinstance(value, tuple) else None
        if type(value) is bytes:
            items = _items(tag, value) if encoded_as in _UNTYPED else None if value else ()
        return None if items is None else Element(tag, vr, items)
    if type(value) is not bytes:
        return Element(tag, vr, b"") if value == () else None
    if encoded_as == vr:
        return element
    if encoded_as in _UNTYPED or not (encoded_as in _NUMBERS or vr in _NUMBERS):
        return Element(tag, vr, value)
    return _converted(element, vr)


def _converted(element: Element, vr: str) -> Element | None:
    """Return an element of which the encoded or the wanted VR is one of binary numbers."""
    try:
        found = numbers({element.tag: element}, element.tag)
    except ObjectError:
        return None
    if vr in _NUMBERS:
        made = packed(found, vr)
        return None if made is None else Element(element.tag, vr, made)
    if vr in UNIT_SIZE:
        return None
    written = [_written(number, vr) for number in found if math.isfinite(number)]
    return Element(element.tag, vr, padded("\\".join(written).encode("ascii"), vr))


def packed(values: Sequence[float], vr: str) -> bytes | None:
    """Return numbers encoded in a VR of binary numbers, None if one of them is none that it can hold."""
    code = NUMBER_CODES[vr]
    try:
        if vr not in ("FL", "FD"):
            if any(value != int(value) for value in values):
                return None
            values = [int(value) for value in values]
        return struct.pack(f"<{len(values)}{code}", *values)
    except (struct.error, ValueError, OverflowError):
        return None


def _written(number: float, vr: str) -> str:
    """Write a number as text; a decimal string has room for 16 characters."""
    if number == int(number) and abs(number) < 1e15:
        return str(int(number))
    text = repr(float(number))
    return text if vr != "DS" or len(text) <= 16 else f"{number:.9g}"
