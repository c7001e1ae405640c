"""Storage Commitment Push Model, SCP: the requests of others, and answers on their own associations (PS3.4 annex J).

What a request comes to is found elsewhere, in its time. If that is soon and the requester still holds its association,
the answer goes out on that; else whoever delivers gives it on an association of its own (J.3.3.1.2).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom.uid import UID
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT

from gateway.archive.jobs import CONVERT
from gateway.archive.promises import HELD, NO_ADDRESS, OPEN, READY, Promise
from gateway.errors import ArchiveError, GatewayError, ResourceError
from gateway.network.commitment_data import Request, event_information, parse_request
from gateway.network.commitment_lists import Malformed
from gateway.network.normalized import Answer, NormalizedAssociation
from gateway.network.requestor import Timeouts
from gateway.network.storage import plain
from gateway.observe import LOGGER, event, fault, warning
from gateway.retrieval.engine import Destination
from gateway.standard.commitment import (
    INVALID_ARGUMENT,
    NO_SUCH_ACTION,
    NO_SUCH_CLASS,
    NO_SUCH_INSTANCE,
    NOT_AUTHORISED,
    PROCESSING_FAILURE,
    REQUEST_COMMITMENT,
    RESOURCE_LIMITATION,
    STORAGE_COMMITMENT_INSTANCE,
    STORAGE_COMMITMENT_PUSH,
    SUCCESS,
)

if TYPE_CHECKING:
    from gateway.archive.index import Archive
    from gateway.archive.promises import Promises
    from gateway.network.acceptor import Acceptor

# How long the answer is left to the association of the request, and how often it is looked for.
SAME_ASSOCIATION = 10.0
LOOK = 0.2
# For a requester without an address the association is all there is.
LOOK_LONGER = 2.0
# How long a requester may take to respond to the answer.
RESPONSE = 60.0

NOT_TAKEN = "the answer was not taken"


def serve_action(association: Acceptor, request: N_ACTION, context: Any) -> None:
    """Serve one N-ACTION request: check it, make it durable, respond (J.3.2.1.3)."""
    peer = association.caller.peer.ae_title
    status, comment = SUCCESS, ""
    promise: Promise | None = None
    try:
        wanted = _read(request, context)
        promise = _take(association, wanted)
    except Malformed as error:
        status, comment = error.status, error.comment
    except (ResourceError, ArchiveError, OSError) as error:
        status, comment = RESOURCE_LIMITATION, "the request cannot be kept now"
        LOGGER.error("storage commitment asked by %s: %s", peer, error)
    except Exception:  # the requester waits for a response, whatever went wrong
        LOGGER.exception("storage commitment asked by %s", peer)
        status, comment = PROCESSING_FAILURE, "internal error, see the log of the gateway"
    if promise is None:
        warning("promise.refused", peer=peer, status=f"{status:04X}", reason=comment)
    response: Any = N_ACTION()
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.RequestedSOPClassUID
    response.AffectedSOPInstanceUID = request.RequestedSOPInstanceUID
    response.ActionTypeID = request.ActionTypeID
    response.Status = status
    if comment:
        response.ErrorComment = plain(comment)
    association.dimse.send_msg(response, context.context_id)
    if promise is not None:
        association.answers.expect(promise, context)


def _read(request: N_ACTION, context: Any) -> Request:
    """Return what is asked, or raise `Malformed`."""
    if not context.as_scp:
        raise Malformed(NOT_AUTHORISED, "no role for this was negotiated")
    if request.RequestedSOPClassUID != STORAGE_COMMITMENT_PUSH or context.abstract_syntax != STORAGE_COMMITMENT_PUSH:
        raise Malformed(NO_SUCH_CLASS, "Requested SOP Class UID has no actions here")
    if request.RequestedSOPInstanceUID != STORAGE_COMMITMENT_INSTANCE:
        raise Malformed(NO_SUCH_INSTANCE, f"Requested SOP Instance UID is not {STORAGE_COMMITMENT_INSTANCE}")
    if request.ActionTypeID != REQUEST_COMMITMENT:
        raise Malformed(NO_SUCH_ACTION, f"Action Type ID {request.ActionTypeID}, expected {REQUEST_COMMITMENT}")
    content = request.ActionInformation
    return parse_request(content.getvalue() if content else b"", str(context.transfer_syntax[0]))


def _take(association: Acceptor, wanted: Request) -> Promise:
    """Make a request durable, and have its studies converted if they are complete."""
    caller, archive = association.caller, association.server.archive
    peer = caller.peer.ae_title
    if not association.server.registrar.visible():
        # It would be told of what it has sent a moment ago, and got a Success for, that there is no such object.
        raise ResourceError(str(archive.database.path), "does not know yet all that was acknowledged")
    promise = archive.promises.ask(peer, caller.called, wanted.transaction, wanted.references, SAME_ASSOCIATION)
    if promise is None:
        raise Malformed(INVALID_ARGUMENT, f"Transaction UID was used before: {wanted.transaction}")
    event(
        "promise.asked",
        peer=peer,
        called=caller.called,
        transaction=wanted.transaction,
        references=len(wanted.references),
    )
    if peer not in association.settings.destinations:
        warning(
            "promise.no_address",
            peer=peer,
            transaction=wanted.transaction,
            reason=f"{peer} {NO_ADDRESS}: it gets its answer only as long as it holds this association",
            remedy=f"name host and port of {peer}",
        )
    with contextlib.suppress(GatewayError):  # the request is taken; without this it takes its time
        complete_studies(archive, [uid for _, uid in wanted.references])
    return promise


def complete_studies(archive: Archive, sop_instances: list[str]) -> list[str]:
    """Have the studies of some instances converted at once if all of these are held; return those that waited.

    Whoever asks for storage commitment has sent what there is. An instance that is missing may be of any study.
    """
    studies: set[str] = set()
    for start in range(0, len(sop_instances), 500):
        batch = sop_instances[start : start + 500]
        rows = archive.instances(batch)
        if len(rows) < len(batch):
            return []
        studies |= {row.study for row in rows if not row.settled}
    hastened = [study for study in sorted(studies) if archive.jobs.hasten(CONVERT, study)]
    for study in hastened:
        event("promise.study_complete", study=study)
    return hastened


def result_of(promise: Promise, promises: Promises, *, implicit: bool) -> tuple[int, bytes]:
    """Return Event Type ID and Event Information of the answer to a request."""
    retrieve_ae = promises.retrieve_ae(promise)
    return event_information(promise.transaction, promises.answer(promise), retrieve_ae, implicit=implicit)


class _Given(NamedTuple):
    """An answer that was given and not responded to."""

    promise: Promise
    message_id: int
    deadline: float


class Answers:
    """The answers that are to be given on one association.

    Parameters
    ----------
    association : Acceptor
        The association.
    """

    def __init__(self, association: Acceptor) -> None:
        self._association = association
        self._expected: list[tuple[Promise, Any]] = []
        self._given: _Given | None = None
        self._message_id = 0
        self._look = 0.0

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        return max(0.0, self._look - time.monotonic()) if self._expected else math.inf

    def expect(self, promise: Promise, context: Any) -> None:
        """Give the answer to a request that has come in a presentation context."""
        self._expected.append((promise, context))
        self._look = time.monotonic() + LOOK

    def look(self) -> None:
        """Give an answer that is known by now, one at a time; leave to others what takes longer."""
        now = time.monotonic()
        if not self._expected or now < self._look:
            return
        self._look = now + LOOK
        try:
            if self._given is not None:
                if now > self._given.deadline:
                    self._vain("no response to the answer")
                return
            longer = False
            for expected in tuple(self._expected):
                longer = self._look_at(*expected) or longer
                if self._given is not None:
                    return
            self._look = now + (LOOK_LONGER if longer else LOOK)
        except GatewayError as error:  # the index is locked: not for ever
            warning("promise.delayed", peer=self._peer, reason=error)

    def _look_at(self, promise: Promise, context: Any) -> bool:
        """Give the answer to a request if it is known; tell whether the association is the only way for it."""
        promises = self._association.server.archive.promises
        # Nobody else can answer a requester without an address.
        only = self._peer not in self._association.settings.destinations
        now = self._association.server.archive.clock.now()
        known = promises.get(promise)
        mine = known is not None and known.kept_until == promise.kept_until
        if known is None or not mine or known.state not in (OPEN, READY, HELD):
            self._forget(promise)
        elif known.state == OPEN and (only or now < promise.kept_until):
            return only and now > promise.kept_until
        elif (only or now < promise.kept_until) and promises.keep(known, now + RESPONSE):
            self._give(known._replace(kept_until=now + RESPONSE), context)
        else:
            self._forget(promise)
        return False

    def _give(self, promise: Promise, context: Any) -> None:
        promises = self._association.server.archive.promises
        implicit = UID(context.transfer_syntax[0]).is_implicit_VR
        kind, data = result_of(promise, promises, implicit=implicit)
        fault("promise.before_answer")
        self._message_id = self._message_id % 0xFFFF + 1
        self._given = _Given(promise, self._message_id, time.monotonic() + RESPONSE)
        report = N_EVENT_REPORT()
        report.MessageID = self._message_id
        report.AffectedSOPClassUID = UID(STORAGE_COMMITMENT_PUSH)
        report.AffectedSOPInstanceUID = UID(STORAGE_COMMITMENT_INSTANCE)
        report.EventTypeID = kind
        report.EventInformation = BytesIO(data)
        self._association.dimse.send_msg(report, context.context_id)

    def responded(self, response: N_EVENT_REPORT) -> bool:
        """Take the response to an answer; False if it is none to what was given."""
        given = self._given
        if given is None or response.MessageIDBeingRespondedTo != given.message_id or response.Status is None:
            return False
        fault("promise.after_answer")
        answer = Answer(response.Status, str(response.ErrorComment or ""))
        if answer.done:
            self._association.server.archive.promises.answered(given.promise, "on its association")
            self._forget(given.promise)
            self._given = None
        else:
            self._vain(f"{NOT_TAKEN}: {answer}")
        self._look = 0.0
        return True

    def _vain(self, reason: str) -> None:
        """Leave an answer that was not taken to others."""
        assert self._given is not None
        promise, self._given = self._given.promise, None
        self._forget(promise)
        warning("promise.retry", peer=self._peer, transaction=promise.transaction, reason=reason)
        archive = self._association.server.archive
        archive.promises.retry(promise, reason, archive.clock.now() + LOOK_LONGER)

    def _forget(self, promise: Promise) -> None:
        self._expected = [one for one in self._expected if one[0].id != promise.id]

    @property
    def _peer(self) -> str:
        return self._association.caller.peer.ae_title

    def end(self) -> None:
        """Leave to others what was not given when the association has ended."""
        promises = self._association.server.archive.promises
        expected, self._expected, self._given = self._expected, [], None
        for promise, _ in expected:
            try:
                promises.leave(promise)
            except GatewayError as error:  # it is left by itself a little later
                warning("promise.delayed", peer=self._peer, reason=error)


class Reporter:
    """Brings answers to requesters on associations of their own.

    Parameters
    ----------
    timeouts : Timeouts
        Limits of all waits.
    """

    def __init__(self, timeouts: Timeouts = Timeouts(response=RESPONSE)) -> None:  # noqa: B008 - frozen
        self.timeouts = timeouts

    def report(
        self,
        destination: Destination,
        promise: Promise,
        archive: Archive,
        *,
        watch: Callable[[], None] | None = None,
    ) -> Answer:
        """Give the answer to a request and return the response of the requester.

        Parameters
        ----------
        destination : Destination
            The requester, and the AE title of the box that it has called.
        promise : Promise
            The request.
        archive : Archive
            Holds what was found.
        watch : callable, optional
            Called about once a second during any wait; what it raises comes through.

        Raises
        ------
        NetworkError
            If the requester is not there, takes neither the SOP class nor the role, or breaks the rules.
        """
        kind, data = result_of(promise, archive.promises, implicit=True)
        association = NormalizedAssociation(
            destination, STORAGE_COMMITMENT_PUSH, provider=True, timeouts=self.timeouts, watch=watch
        )
        answer = association.report(STORAGE_COMMITMENT_INSTANCE, kind, data)
        association.release()
        return answer
