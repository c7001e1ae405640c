"""DIMSE-N over associations that the gateway requests: N-ACTION, N-CREATE and N-EVENT-REPORT (PS3.7 section 10).

Data sets travel in Implicit VR Little Endian, which every application entity has to take (PS3.5 10.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dimse_messages import N_ACTION_RQ, N_CREATE_RQ, N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import N_ACTION, N_CREATE, N_EVENT_REPORT
from pynetdicom.dsutils import encode

from gateway.errors import NetworkError
from gateway.network.requestor import Requestor, Timeouts
from gateway.network.storage import plain
from gateway.objects.part10 import IMPLICIT_LITTLE
from gateway.objects.stream import BytesSource
from gateway.retrieval.engine import Destination
from gateway.standard.statuses import Kind, describe, kind_of

# Notifications that a peer may send before they are looked at.
MOST_WAITING = 16


class NotTaken(NetworkError):
    """The peer is there, and does not take the SOP class or the role."""


class Answer(NamedTuple):
    """The response to a DIMSE-N request.

    Attributes
    ----------
    status : int
        Its status.
    comment : str
        Error Comment of the peer.
    """

    status: int
    comment: str = ""

    @property
    def done(self) -> bool:
        """Whether the peer has done what was asked, with or without a warning."""
        return kind_of(self.status) in (Kind.SUCCESS, Kind.WARNING)

    def __str__(self) -> str:
        text = describe(self.status, self.comment)
        return text[:1].lower() + text[1:]


class NormalizedAssociation:
    """An association for one SOP class.

    Parameters
    ----------
    destination : Destination
        The peer and our AE title.
    sop_class : str
        The SOP class.
    provider : bool
        Whether the box has the SCP role: it sends N-EVENT-REPORT. Otherwise it is SCU.
    timeouts : Timeouts
        Limits of all waits.
    watch : callable, optional
        Called about once a second during any wait; what it raises comes through.

    Raises
    ------
    NotTaken
        If the peer does not take the SOP class, or leaves the box the other role.
    NetworkError
        If there is no association, with the reason in plain words as its `problem`.
    """

    def __init__(
        self,
        destination: Destination,
        sop_class: str,
        *,
        provider: bool = False,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        watch: Callable[[], None] | None = None,
    ) -> None:
        self.destination = destination
        self.sop_class = sop_class
        roles = {sop_class: (not provider, provider)}
        self._requestor = Requestor(
            destination, [(sop_class, IMPLICIT_LITTLE)], timeouts, watch, roles=roles, most_waiting=MOST_WAITING
        )
        self._message_id = 0
        self._requests: list[Any] = []  # of the peer, that came while an answer was waited for
        name = UID(sop_class).name
        context = self._requestor.contexts.get((sop_class, IMPLICIT_LITTLE))
        if context is None:
            self.release()
            raise NotTaken(str(destination), f"peer does not accept {name}")
        # Without an answer about roles the requestor is SCU (PS3.7 D.3.3.4).
        scu, scp = self._requestor.roles.get(sop_class, (True, False))
        if not (scp if provider else scu):
            self.release()
            role = "SCP" if provider else "SCU"
            raise NotTaken(str(destination), f"peer does not accept this gateway as {role} of {name}")
        self._context_id = context

    # Requests of ours

    def action(self, sop_instance: str, action_type: int, information: Dataset) -> Answer:
        """Request an action (N-ACTION, PS3.7 10.1.4) and return the answer.

        Raises
        ------
        NetworkError
            If the association is gone or the peer breaks the rules. As after any exception the association is aborted.
        """
        request = N_ACTION()
        request.RequestedSOPClassUID = UID(self.sop_class)
        request.RequestedSOPInstanceUID = UID(sop_instance)
        request.ActionTypeID = action_type
        return self._exchange(N_ACTION_RQ(), request, information)

    def create(self, sop_instance: str, attributes: Dataset) -> Answer:
        """Have a SOP Instance created (N-CREATE, PS3.7 10.1.5) and return the answer; raises as `action`."""
        request = N_CREATE()
        request.AffectedSOPClassUID = UID(self.sop_class)
        request.AffectedSOPInstanceUID = UID(sop_instance)
        return self._exchange(N_CREATE_RQ(), request, attributes)

    def report(self, sop_instance: str, event_type: int, information: Dataset | bytes) -> Answer:
        """Report an event (N-EVENT-REPORT, PS3.7 10.1.1) and return the answer; raises as `action`.

        `information` may be encoded already, in Implicit VR Little Endian.
        """
        request = N_EVENT_REPORT()
        request.AffectedSOPClassUID = UID(self.sop_class)
        request.AffectedSOPInstanceUID = UID(sop_instance)
        request.EventTypeID = event_type
        return self._exchange(N_EVENT_REPORT_RQ(), request, information)

    def _exchange(self, message: DIMSEMessage, request: Any, content: Dataset | bytes) -> Answer:
        self._message_id = self._message_id % 0xFFFF + 1
        request.MessageID = self._message_id
        try:
            message.primitive_to_message(request)
            encoded = content if isinstance(content, bytes) else encode(content, True, True) or b""
            self._requestor.send(self._context_id, message, BytesSource(encoded))
            return self._answer(type(request))
        except BaseException:
            self.abort()
            raise

    def _answer(self, kind: type[Any]) -> Answer:
        while True:
            found = self._primitive(self._requestor.receive())
            if isinstance(found, N_EVENT_REPORT) and found.MessageID is not None:
                self._keep(found)
                continue
            if not isinstance(found, kind) or found.MessageIDBeingRespondedTo != self._message_id:
                raise self._error("answered something that was not asked", found=type(found).__name__)
            if found.Status is None:
                raise self._error("answered without a status")
            return Answer(found.Status, str(found.ErrorComment or ""))

    # Notifications of the peer

    def notification(self, seconds: float) -> Any:
        """Return the next N-EVENT-REPORT request of the peer, None if none comes within `seconds`.

        Raises
        ------
        NetworkError
            If the association has ended, also when the peer has released it.
        """
        if self._requests:
            return self._requests.pop(0)
        message = self._requestor.wait(seconds)
        if message is None:
            return None
        try:
            found = self._primitive(message)
            if not isinstance(found, N_EVENT_REPORT) or not found.is_valid_request:
                raise self._error("says something that nobody has asked for", found=type(found).__name__)
        except BaseException:
            self.abort()
            raise
        return found

    def answer(self, notification: Any, answer: Answer) -> None:
        """Respond to an N-EVENT-REPORT request; raises as `action`."""
        message = N_EVENT_REPORT_RSP()
        try:
            message.primitive_to_message(event_response(notification, answer))
            self._requestor.send(self._context_id, message)
        except BaseException:
            self.abort()
            raise

    def _keep(self, request: Any) -> None:
        if not request.is_valid_request or len(self._requests) >= MOST_WAITING:
            raise self._error("sends notifications that cannot be understood, or too many of them")
        self._requests.append(request)

    def _primitive(self, message: DIMSEMessage) -> Any:
        try:
            return message.message_to_primitive()
        except Exception as error:  # whatever pynetdicom makes of arbitrary values
            raise self._error(f"message cannot be understood: {error}") from error

    def _error(self, problem: str, *, found: str | None = None) -> NetworkError:
        return NetworkError(str(self.destination), problem, found=found)

    # The end

    def release(self) -> None:
        """End the association in order; never raises."""
        self._requestor.release()

    def abort(self) -> None:
        """End the association at once; never raises."""
        self._requestor.abort()


def event_response(notification: Any, answer: Answer) -> Any:
    """Return the response primitive to an N-EVENT-REPORT request (PS3.7 10.3.1.2)."""
    response: Any = N_EVENT_REPORT()
    response.MessageIDBeingRespondedTo = notification.MessageID
    response.AffectedSOPClassUID = notification.AffectedSOPClassUID
    response.AffectedSOPInstanceUID = notification.AffectedSOPInstanceUID
    response.EventTypeID = notification.EventTypeID
    response.Status = answer.status
    if answer.comment:
        response.ErrorComment = plain(answer.comment)
    return response
