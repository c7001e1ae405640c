"""The private block of the conversion: its dictionary, and elements of it (PS3.5 7.8.1).

It holds what the way back needs and what no reader may take for a statement about the object.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.conversion.keys import Key
from gateway.objects.elements import DataSet, Element

GROUP: Final = 0x0021
CREATOR: Final = b"GATEWAY CONVERSION"

REPLACED, REPLACED_IN_GROUPS, SAID, SAID_AT_TOP, EDITION_TEXT, MODEL = range(1, 7)


class Entry(NamedTuple):
    """A row of the dictionary: number in the block, VR, VM, name, and where the element stands."""

    number: int
    vr: str
    vm: str
    name: str
    where: str


DICTIONARY: tuple[Entry, ...] = (
    Entry(REPLACED, "SQ", "1", "Replaced Attributes of the Top Level", "classic images made of enhanced frames"),
    Entry(REPLACED_IN_GROUPS, "SQ", "1", "Replaced Attributes of Groups", "classic images made of enhanced frames"),
    Entry(SAID, "OB", "1", "Attributes of the Source", "items of the unassigned attributes"),
    Entry(SAID_AT_TOP, "AT", "1-n", "Attributes of the Sources at the Top Level", "Unassigned Shared"),
    Entry(EDITION_TEXT, "LO", "1", "Conversion Edition", "items of Contributing Equipment"),
    Entry(MODEL, "LO", "1", "Converter Model Name", "items of Contributing Equipment"),
)
_VRS = {entry.number: entry.vr for entry in DICTIONARY}

# Beside the private blocks of the sources: they stay where they were, as some readers go by their usual numbers.
LAST_BLOCK: Final = 0xFF


def key_of(number: int) -> Key:
    """Return the key of an element of the block, by its number."""
    return GROUP, CREATOR, 0, number


def element_of(number: int, value: bytes | tuple[DataSet, ...], *, block: int = 0x10) -> Element:
    """Return an element of the block."""
    return Element(GROUP << 16 | block << 8 | number, _VRS[number], value)


def reserved(*elements: Element, block: int = 0x10) -> tuple[Element, ...]:
    """Return elements of the block with the element that reserves it."""
    return Element(GROUP << 16 | block, "LO", CREATOR + b" " * (len(CREATOR) % 2)), *elements
