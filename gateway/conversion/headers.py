"""Headers of sources, read once where that takes little memory."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from operator import is_not

from gateway.conversion.facts import Facts
from gateway.objects.alike import HeaderReader
from gateway.objects.elements import Element
from gateway.objects.part10 import Header

# Bytes of all headers that are held, as they are reckoned: more than 2,000 slices of a series. Those of longer series
# are read again, one header at a time.
MOST_BYTES = 10 << 20
# What a header takes, each element in it, and one that no header before had.
_EACH, _PLACE, _ELEMENT = 1000, 8, 150


@dataclass(frozen=True, slots=True)
class _Held:
    """A header in less memory: a dictionary takes several times what a tuple does.

    Attributes
    ----------
    header : Header
        Without its data set.
    tags : tuple of int
        Shared by all headers with the same ones.
    elements : tuple of Element
        Those that a header before had, too, are the same objects.
    """

    header: Header
    tags: tuple[int, ...]
    elements: tuple[Element, ...]


class Headers:
    """Reads headers and holds the first ones: planning and building look at each.

    The proof reads its sources afresh and has no use for this.

    Attributes
    ----------
    read : HeaderReader
        Reads files of which there are no facts yet.
    """

    def __init__(self) -> None:
        self.read = HeaderReader()
        self._held: dict[str, _Held] = {}
        self._tags: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._last: tuple[Element, ...] = ()
        self._bytes = 0

    def keep(self, fact: Facts, header: Header) -> None:
        """Hold a header as long as there is room."""
        if self._bytes >= MOST_BYTES or fact.name in self._held:
            return
        tags, elements = tuple(header.dataset), tuple(header.dataset.values())
        new = sum(map(is_not, elements, self._last)) + abs(len(elements) - len(self._last))
        self._bytes += _EACH + _PLACE * len(elements) + _ELEMENT * new
        bare = copy.copy(header)
        bare.dataset = {}
        self._held[fact.name] = _Held(bare, self._tags.setdefault(tags, tags), elements)
        self._last = elements

    def __call__(self, fact: Facts) -> Header:
        """Return the header of an instance, which nobody may change."""
        held = self._held.get(fact.name)
        if held is None:
            header = self.read(fact.path)
            self.keep(fact, header)
            return header
        header = copy.copy(held.header)
        header.dataset = dict(zip(held.tags, held.elements, strict=True))
        return header
