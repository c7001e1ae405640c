"""Storage SCU: sends instances over associations that the gateway requests (PS3.4 B.2, PS3.7 9.1.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pynetdicom.dimse_primitives import C_STORE

from gateway.errors import NetworkError
from gateway.network.commands import store_request_command
from gateway.network.requestor import Requestor, Timeouts
from gateway.objects.stream import Outgoing
from gateway.observe import fault
from gateway.retrieval.engine import Destination
from gateway.retrieval.rendition import Offer
from gateway.retrieval.transcript import Outcome


class Sender:
    """Establishes associations to store instances; the `Outbound` of the engine.

    Parameters
    ----------
    timeouts : Timeouts
        Limits of all waits.
    """

    def __init__(self, timeouts: Timeouts = Timeouts()) -> None:  # noqa: B008 - frozen
        self.timeouts = timeouts

    def connect(
        self, destination: Destination, offers: Sequence[Offer], *, watch: Callable[[], None] | None = None
    ) -> StoreAssociation:
        """Establish an association.

        Parameters
        ----------
        destination : Destination
            The peer.
        offers : sequence of Offer
            What to propose, each transfer syntax in a context of its own, 128 contexts at most.
        watch : callable, optional
            Called about once a second during any wait on this association; what it raises comes through.

        Raises
        ------
        NetworkError
            With the reason in plain words as its `problem`.
        """
        proposals = [(offer.sop_class, syntax) for offer in offers for syntax in offer.transfer_syntaxes]
        return StoreAssociation(Requestor(destination, proposals, self.timeouts, watch))


class StoreAssociation:
    """An association on which instances are stored, one after the other."""

    def __init__(self, requestor: Requestor) -> None:
        self._requestor = requestor
        self._message_id = 0

    def accepted(self, sop_class: str) -> tuple[str, ...]:
        """Return the transfer syntaxes that the peer has accepted for a class."""
        return tuple(syntax for abstract, syntax in self._requestor.contexts if abstract == sop_class)

    def store(
        self,
        *,
        sop_class: str,
        sop_instance: str,
        transfer_syntax: str,
        source: Outgoing,
        originator: tuple[str, int] | None = None,
        priority: int = 0,
    ) -> Outcome:
        """Send one instance, piece by piece, and return what the peer answers.

        Parameters
        ----------
        sop_class, sop_instance, transfer_syntax : str
            What is sent; class and syntax must be accepted.
        source : Outgoing
            The data set.
        originator : (str, int), optional
            AE title and message ID of the C-MOVE that this is done for.
        priority : int
            0 medium, 1 high, 2 low.

        Raises
        ------
        NetworkError
            If the association is gone or the peer breaks the rules. As after any exception the association is aborted.
        """
        self._message_id = self._message_id % 0xFFFF + 1
        command = store_request_command(self._message_id, sop_class, sop_instance, priority, originator)
        try:
            fault("sender.store")
            self._requestor.send(self._requestor.contexts[sop_class, transfer_syntax], command, source)
            return self._answer()
        except BaseException:
            self._requestor.abort()
            raise

    def _answer(self) -> Outcome:
        answer: Any = self._requestor.receive().message_to_primitive()
        asked = isinstance(answer, C_STORE) and answer.MessageIDBeingRespondedTo == self._message_id
        if not asked or answer.Status is None:
            raise NetworkError(
                str(self._requestor.destination),
                "answered something that was not asked",
                found=type(answer).__name__,
                expected=f"response to C-STORE {self._message_id}",
            )
        return Outcome(answer.Status, answer.ErrorComment or "")

    def release(self) -> None:
        """End the association in order; never raises."""
        self._requestor.release()

    def abort(self) -> None:
        """End the association at once; never raises."""
        self._requestor.abort()
