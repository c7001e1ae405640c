"""Sends a set of instances to a destination and says what happened to each: the one engine for C-MOVE and deliveries.

What an association is made of is not known here: `Outbound` is implemented in the network room and handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from gateway.archive.rows import InstanceRow
from gateway.errors import GatewayError, NetworkError
from gateway.objects.stream import Outgoing
from gateway.observe import warning
from gateway.retrieval.rendition import (
    WHOLE,
    CannotSend,
    Offer,
    Rendition,
    Sources,
    choose,
    offers,
    refusal,
    unsendable,
)
from gateway.retrieval.transcript import Fate, Outcome, Transcript

if TYPE_CHECKING:
    import ssl

# Presentation context IDs are the odd numbers of one byte (PS3.8 9.3.2.2).
MAX_CONTEXTS = 128

SOP_CLASS_NOT_SUPPORTED = 0x0122
PROCESSING_FAILURE = 0x0110


class Secured(Protocol):
    """What a connection is secured with."""

    def client(self) -> ssl.SSLContext:
        """Return what calls others; raises `NetworkError` if there is nothing usable."""
        ...


@dataclass(frozen=True)
class Destination:
    """Where to send.

    Attributes
    ----------
    ae_title, host, port
        Of the peer.
    calling_ae : str
        Our own AE title towards it.
    tls : object or None
        For a secure connection.
    deflate : bool
        Whether it is offered native objects deflated.
    """

    ae_title: str
    host: str
    port: int
    calling_ae: str
    tls: Secured | None = None
    verify_name: str | None = None
    deflate: bool = False

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"


class OutboundAssociation(Protocol):
    """An association on which instances can be stored."""

    def accepted(self, sop_class: str) -> tuple[str, ...]:
        """Return the transfer syntaxes accepted for a class."""
        ...

    def unknown(self, sop_class: str) -> bool:
        """Tell whether the peer has said that it does not know a class, in whatever transfer syntax."""
        ...

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
        """Send one instance and return the answer.

        `originator` is the AE title and message ID of the C-MOVE this is done for. Any exception leaves the
        association aborted; `NetworkError` says that peer or connection failed, another one that `source` did.
        """
        ...

    def release(self) -> None:
        """End the association in order; never raises."""
        ...

    def abort(self) -> None:
        """End the association at once; never raises."""
        ...


class Outbound(Protocol):
    """Whoever can establish associations."""

    def connect(
        self, destination: Destination, offers: Sequence[Offer], *, watch: Callable[[], None] | None = None
    ) -> OutboundAssociation:
        """Establish an association that proposes `offers`, or raise `NetworkError` with the reason in plain words.

        `watch` is called about once a second while the association waits or sends; what it raises comes through.
        """
        ...


def run(
    archive: Sources,
    rows: Sequence[InstanceRow],
    destination: Destination,
    outbound: Outbound,
    *,
    on_result: Callable[[InstanceRow, Outcome], None] = lambda row, outcome: None,
    originator: tuple[str, int] | None = None,
    priority: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
    watch: Callable[[], None] | None = None,
    transcript: Transcript | None = None,
    rendition: Rendition = WHOLE,
) -> Transcript:
    """Send `rows` to `destination`.

    Parameters
    ----------
    archive : Sources
        Gives the bytes of each row.
    rows : sequence of InstanceRow
        What to send, in this order as far as the limit of 128 contexts an association allows.
    destination : Destination
        The peer.
    outbound : Outbound
        Establishes associations.
    on_result : callable
        Called right after each instance was answered, refused or found unreadable, before the next is sent. Not called
        for what a broken connection left unanswered; the transcript has those.
    originator : (str, int), optional
        AE title and message ID of the C-MOVE that asked.
    priority : int
        Priority of the C-STORE requests.
    cancelled : callable
        Asked before each instance; True ends the retrieval in order.
    watch : callable, optional
        Called about once a second, also in the middle of an instance; what it raises ends the retrieval at once.
    transcript : Transcript, optional
        An empty one of `rows`, for who wants to look at it meanwhile.
    rendition : Rendition
        What is sent of each instance.

    Returns
    -------
    Transcript
        Also when the destination could not be reached or broke off: see `Transcript.broken`.
    """
    transcript = transcript or Transcript(rows)
    sending = _Sending(
        *(archive, transcript, destination, outbound, on_result, originator, priority, cancelled, watch, rendition)
    )
    for proposal, indexes in associations(rows, rendition):
        if not sending.group(proposal, indexes):
            break
    return transcript


def associations(rows: Sequence[InstanceRow], rendition: Rendition = WHOLE) -> Iterator[tuple[list[Offer], list[int]]]:
    """Split `rows` so that no part needs more than 128 contexts; yield what to propose and the indexes of its rows."""
    groups: list[list[Offer]] = [[]]
    used = 0
    for offer in offers(rows, rendition):
        used += len(offer.transfer_syntaxes)
        if used > MAX_CONTEXTS:
            groups.append([])
            used = len(offer.transfer_syntaxes)
        groups[-1].append(offer)
    for proposal in filter(None, groups):
        classes = {offer.sop_class for offer in proposal}
        yield proposal, [index for index, row in enumerate(rows) if row.sop_class in classes]


@dataclass
class _Sending:
    """One call of `run`."""

    archive: Sources
    transcript: Transcript
    destination: Destination
    outbound: Outbound
    on_result: Callable[[InstanceRow, Outcome], None]
    originator: tuple[str, int] | None
    priority: int
    cancelled: Callable[[], bool]
    watch: Callable[[], None] | None
    rendition: Rendition
    _waiting: deque[int] = field(default_factory=deque)
    _moved: set[int] = field(default_factory=set)

    def group(self, proposal: list[Offer], indexes: list[int]) -> bool:
        """Send the rows of one proposal; False when nothing more shall be sent."""
        self._waiting.extend(indexes)
        # More than one turn only after a file of ours that could not be read to its end has cost an association.
        while self._waiting and not self._over():
            try:
                association = self.outbound.connect(self.destination, proposal, watch=self.watch)
            except NetworkError as error:
                self.transcript.broke_off(error)
                break
            try:
                while self._waiting and not self._over() and self._row(association, self._waiting.popleft()):
                    pass
            except BaseException:
                association.abort()
                raise
            association.release()
        return not self._over()

    def _over(self) -> bool:
        if not self.transcript.broken and not self.transcript.cancelled:
            self.transcript.cancelled = self.cancelled()
        return self.transcript.cancelled or bool(self.transcript.broken)

    def _row(self, association: OutboundAssociation, index: int) -> bool:
        """Send one row; False when the association is of no further use."""
        row = self.transcript.rows[index]
        accepted = association.accepted(row.sop_class)
        syntax = choose(row, accepted, self.rendition)
        if syntax is None:
            unknown = association.unknown(row.sop_class)
            reason = refusal(row, accepted, self.rendition, peer=self.destination.ae_title, unknown=unknown)
            self._record(index, Outcome(SOP_CLASS_NOT_SUPPORTED, reason, Fate.REFUSED))
            return True
        try:
            source = self.rendition.source(self.archive, row, syntax)
        except CannotSend as error:
            reason = unsendable(row, error, self.destination.ae_title)
            self._record(index, Outcome(PROCESSING_FAILURE, reason, Fate.UNSENDABLE))
            return True
        except (OSError, GatewayError) as error:
            self._unreadable(index, error)
            return True
        try:
            outcome = association.store(
                sop_class=row.sop_class,
                sop_instance=row.sop_instance,
                transfer_syntax=syntax,
                source=source,
                originator=self.originator,
                priority=self.priority,
            )
        except NetworkError as error:
            self.transcript.broke_off(error, in_flight=index)
            return False
        except (OSError, GatewayError) as error:
            association.abort()
            self._unreadable(index, error)
            return False
        self._record(index, replace(outcome, transfer_syntax=syntax))
        return True

    def _unreadable(self, index: int, error: Exception) -> None:
        """Record a row of which nothing was sent to its end, unless it is worth another look."""
        row = self.transcript.rows[index]
        if isinstance(error, FileNotFoundError) and index not in self._moved:
            # Files leave the intake folder while they are looked for; the second look finds them.
            self._moved.add(index)
            self._waiting.appendleft(index)
            return
        warning("retrieval.unreadable", instance=row.sop_instance, reason=error)
        self._record(index, Outcome(PROCESSING_FAILURE, f"cannot be read: {error}", Fate.UNREADABLE))

    def _record(self, index: int, outcome: Outcome) -> None:
        self.transcript.record(index, outcome)
        self.on_result(self.transcript.rows[index], outcome)
