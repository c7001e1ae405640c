"""Headers of sources, read once where that takes little memory."""

from __future__ import annotations

from gateway.conversion.facts import Facts
from gateway.objects.alike import HeaderReader
from gateway.objects.part10 import Header

# Elements of all headers that are held: some 10 MB. Longer series are read again, one header at a time.
MOST_ELEMENTS = 40_000


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
        self._held: dict[str, Header] = {}
        self._elements = 0

    def keep(self, fact: Facts, header: Header) -> None:
        """Hold a header as long as there is room."""
        if self._elements < MOST_ELEMENTS and fact.name not in self._held:
            self._held[fact.name] = header
            self._elements += len(header.dataset)

    def __call__(self, fact: Facts) -> Header:
        """Return the header of an instance, which nobody may change."""
        header = self._held.get(fact.name)
        if header is None:
            header = self.read(fact.path)
            self.keep(fact, header)
        return header
