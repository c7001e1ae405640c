"""Storage SCU: sends instances over associations that the gateway requests (PS3.4 B.2, PS3.7 9.1.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pynetdicom.dimse_primitives import C_STORE

from gateway.errors import BrokenOff, NetworkError, Unanswered
from gateway.network.commands import store_request_command
from gateway.network.requestor import Requestor, Timeouts
from gateway.objects.stream import Outgoing
from gateway.observe import fault
from gateway.retrieval.engine import Destination
from gateway.retrieval.rendition import Offer
from gateway.retrieval.transcript import Outcome

# A response is waited for twice as long as the last time in vain, and at last this many times as long as at first.
MOST_PATIENCE = 6


# Result of a presentation context (PS3.8 table 9-18).
_ABSTRACT_SYNTAX_NOT_SUPPORTED = 3


class Sender:
    """Establishes associations to store instances; the `Outbound` of the engine.

    It learns whom to wait longer for: who answers after five minutes would otherwise be sent the same for ever.

    Parameters
    ----------
    timeouts : Timeouts
        Limits of all waits; that of responses for a peer that has always answered in time.
    """

    def __init__(self, timeouts: Timeouts = Timeouts()) -> None:  # noqa: B008 - frozen
        self.timeouts = timeouts
        self._patience: dict[tuple[str, str, int], float] = {}

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
        patience = self._patience.get(_who(destination), self.timeouts.response)
        requestor = Requestor(destination, proposals, replace(self.timeouts, response=patience), watch)
        return StoreAssociation(requestor, self._unanswered)

    def _unanswered(self, destination: Destination, waited: float) -> None:
        """Wait longer for this peer from now on; no time of a process is long enough to forget it."""
        self._patience[_who(destination)] = min(2 * waited, MOST_PATIENCE * self.timeouts.response)


def _who(destination: Destination) -> tuple[str, str, int]:
    return destination.ae_title, destination.host, destination.port


class StoreAssociation:
    """An association on which instances are stored, one after the other.

    Parameters
    ----------
    requestor : Requestor
        The association.
    unanswered : callable
        Told of a peer that has not answered in so many seconds.
    """

    def __init__(
        self,
        requestor: Requestor,
        unanswered: Callable[[Destination, float], None] = lambda destination, waited: None,
    ) -> None:
        self._requestor = requestor
        self._unanswered = unanswered
        self._message_id = 0

    def accepted(self, sop_class: str) -> tuple[str, ...]:
        """Return the transfer syntaxes that the peer has accepted for a class."""
        return tuple(syntax for abstract, syntax in self._requestor.contexts if abstract == sop_class)

    def unknown(self, sop_class: str) -> bool:
        """Tell whether the peer has said of every context of a class that it does not know the class."""
        results = [result for (abstract, _), result in self._requestor.results.items() if abstract == sop_class]
        return bool(results) and set(results) == {_ABSTRACT_SYNTAX_NOT_SUPPORTED}

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
        try:
            answer: Any = self._requestor.receive().message_to_primitive()
        except Unanswered:
            self._unanswered(self._requestor.destination, self._requestor.timeouts.response)
            raise
        except NetworkError as error:  # it has all of the object: the next time will hardly be better
            raise BrokenOff(error.subject, error.problem, found=error.found, remedy=error.remedy) from error
        asked = isinstance(answer, C_STORE) and answer.MessageIDBeingRespondedTo == self._message_id
        if not asked or answer.Status is None:
            raise BrokenOff(
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
