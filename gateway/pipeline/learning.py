"""Remembers what destinations take, from every association with them; see `gateway.archive.taken`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.archive.taken import Taken
from gateway.retrieval.engine import Destination, Outbound, OutboundAssociation
from gateway.retrieval.rendition import Offer


class Learning:
    """Establishes associations, and has it remembered which transfer syntaxes the peer accepts.

    Parameters
    ----------
    outbound : Outbound
        Establishes them.
    taken : Taken
        What is remembered.
    """

    def __init__(self, outbound: Outbound, taken: Taken) -> None:
        self._outbound = outbound
        self._taken = taken

    def connect(
        self, destination: Destination, offers: Sequence[Offer], *, watch: Callable[[], None] | None = None
    ) -> OutboundAssociation:
        """Establish an association; see `Outbound`."""
        association = self._outbound.connect(destination, offers, watch=watch)
        known = [offer for offer in offers if not association.unknown(offer.sop_class)]
        proposed = {syntax for offer in known for syntax in offer.transfer_syntaxes}
        accepted = {syntax for offer in known for syntax in association.accepted(offer.sop_class)}
        self._taken.learn(destination.ae_title, proposed, accepted)
        return association
