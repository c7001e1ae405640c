"""C-MOVE SCP of the Query/Retrieve service class (PS3.4 C.4.2), one view for each called AE title."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_MOVE
from pynetdicom.dsutils import decode, encode

from gateway.archive.views import View, name_of
from gateway.network.storage import plain
from gateway.observe import LOGGER, event, warning
from gateway.retrieval import transcript as statuses
from gateway.retrieval.engine import Destination, Outbound, run
from gateway.retrieval.select import IdentifierError, Selection, selection
from gateway.retrieval.transcript import Transcript

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.presentation import PresentationContext

    from gateway.archive.index import Archive
    from gateway.archive.rows import InstanceRow
    from gateway.network.policy import NetworkSettings

TOO_MANY_MATCHES = 0xA701
DESTINATION_UNKNOWN = 0xA801
IDENTIFIER_MISMATCH = 0xA900
NOT_AUTHORISED = 0x0124
UNABLE_TO_PROCESS = 0xC000
CONVERSION_PENDING = 0xC001

# The counts of sub-operations are US.
MOST_INSTANCES = 0xFFFF

# Who waits sees progress, but a thousand small instances do not make a thousand responses.
PENDING_INTERVAL = 0.25


class _Refused(Exception):
    """A request that ends before its first sub-operation."""

    def __init__(self, status: int, comment: str, offending: int | None = None) -> None:
        self.status = status
        self.comment = comment
        self.offending = offending


class _RequestorGone(Exception):
    """The association that the request came on has ended."""


def serve_move(
    association: Association,
    request: C_MOVE,
    context: PresentationContext,
    *,
    archive: Archive,
    settings: NetworkSettings,
    outbound: Outbound,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Serve one C-MOVE request to its final response, in the thread of the association it came on.

    Parameters
    ----------
    association : Association
        Of the requestor, as acceptor.
    request : C_MOVE
        The request primitive.
    context : PresentationContext
        The accepted context it came in.
    archive : Archive
        What can be retrieved.
    settings : NetworkSettings
        Views of the called AE titles, peers and destinations.
    outbound : Outbound
        Establishes the association to the destination.
    monotonic : callable
        The clock for the pending responses.
    """
    move = _Move(association, request, context, monotonic)
    try:
        view = settings.views.get(move.called, View.RECEIVED)
        rows, destination = _accept(move, archive, settings, view)
        done = _perform(move, rows, destination, archive, outbound)
    except _Refused as refused:
        warning("move.refused", peer=move.calling, status=f"{refused.status:04X}", reason=refused.comment)
        move.respond(refused.status, comment=refused.comment, offending=refused.offending)
    except _RequestorGone:
        warning("move.abandoned", peer=move.calling, reason="the association of the request has ended")
    except Exception as error:  # the requestor waits for an answer, whatever went wrong
        LOGGER.exception("C-MOVE of %s", move.calling)
        move.respond(UNABLE_TO_PROCESS, comment=str(error))
    else:
        status = move.finish(done)
        event(
            "move.done",
            peer=move.calling,
            destination=destination,
            view=name_of(view),
            status=f"{status:04X}",
            completed=done.completed,
            failed=done.failed,
            warning=done.warning,
            reason=done.reason() or None,
        )
    # The idle timer has been running all the time; what the requestor says next must not come too late.
    association.dul._idle_timer.restart()


def _accept(
    move: _Move, archive: Archive, settings: NetworkSettings, view: View
) -> tuple[list[InstanceRow], Destination]:
    """Return what is to be sent where, or say why nothing is."""
    if not settings.allows(move.calling, "retrieve"):
        raise _Refused(NOT_AUTHORISED, f"{move.calling} may not retrieve")
    known = settings.destinations.get(move.destination)
    if known is None:
        raise _Refused(DESTINATION_UNKNOWN, f"{move.destination} is no destination of this gateway")
    try:
        wanted = move.selection()
    except IdentifierError as error:
        raise _Refused(IDENTIFIER_MISMATCH, str(error), error.tag) from None
    if view == View.ENHANCED and wanted.pending(archive):
        # Half of a study in one guise and half in the other would be worse than to ask again later.
        raise _Refused(CONVERSION_PENDING, "conversion pending")
    rows = wanted.rows(archive, view)
    if len(rows) > MOST_INSTANCES:
        raise _Refused(TOO_MANY_MATCHES, f"{len(rows)} instances, a C-MOVE can count {MOST_INSTANCES}")
    # The application entity that was called is the one that sends.
    return rows, replace(known, calling_ae=move.called)


def _perform(
    move: _Move, rows: list[InstanceRow], destination: Destination, archive: Archive, outbound: Outbound
) -> Transcript:
    """Do the sub-operations."""
    progress = Transcript(rows)

    def tell(row: Any = None, outcome: Any = None) -> None:
        move.pending(progress)

    def watch() -> None:
        if move.gone():
            raise _RequestorGone
        move.pending(progress)

    if rows:
        move.pending(progress)
        run(
            archive,
            rows,
            destination,
            outbound,
            transcript=progress,
            on_result=tell,
            originator=(move.calling, move.message_id),
            priority=move.priority,
            cancelled=move.cancelled,
            watch=watch,
        )
    if move.gone():
        raise _RequestorGone
    return progress


class _Move:
    """A C-MOVE request and the responses to it."""

    def __init__(
        self,
        association: Association,
        request: Any,  # C_MOVE; the properties of pynetdicom's primitives are typed as optional
        context: Any,
        monotonic: Callable[[], float],
    ) -> None:
        self._association = association
        self._request = request
        self._context = context
        self._monotonic = monotonic
        self._told = float("-inf")
        self.calling: str = association.requestor.ae_title.strip()
        self.called: str = association.requestor.primitive.called_ae_title.strip()  # type: ignore[union-attr]
        self.destination = (request.MoveDestination or "").strip()
        self.message_id: int = request.MessageID
        self.priority: int = request.Priority

    def selection(self) -> Selection:
        """Decode the Identifier."""
        syntax = self._context.transfer_syntax[0]
        content = self._request.Identifier or BytesIO()
        try:
            identifier = decode(content, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
        except Exception as error:  # whatever pydicom makes of arbitrary bytes
            raise _Refused(UNABLE_TO_PROCESS, f"Identifier cannot be decoded: {error}") from error
        return selection(identifier, self._request.AffectedSOPClassUID)

    def cancelled(self) -> bool:
        """Whether the requestor wants no more of it: C-CANCEL, or the end of its association."""
        return self.message_id in self._association.dimse.cancel_req or self.gone()

    def gone(self) -> bool:
        """Whether the association of the request has been aborted, lost or released."""
        return self._association.dul.peek_next_pdu() is not None or not self._association.dul.is_alive()

    def pending(self, progress: Transcript) -> None:
        """Send a pending response unless the last is quite recent."""
        now = self._monotonic()
        if now - self._told >= PENDING_INTERVAL and progress.remaining:
            self._told = now
            self.respond(statuses.PENDING, progress)

    def finish(self, done: Transcript) -> int:
        """Send the final response and return its status."""
        status = done.final_status()
        failed = done.failed_instances()
        identifier = None
        if failed:
            identifier = Dataset()
            identifier.FailedSOPInstanceUIDList = failed
        comment = done.reason() if status not in (statuses.SUCCESS, statuses.CANCELLED) else ""
        self.respond(status, done, comment=comment, identifier=identifier)
        return status

    def respond(
        self,
        status: int,
        counts: Transcript | None = None,
        *,
        comment: str = "",
        offending: int | None = None,
        identifier: Dataset | None = None,
    ) -> None:
        """Send a response with the fields that belong to its status (PS3.4 table C.4-2)."""
        response: Any = C_MOVE()
        response.MessageIDBeingRespondedTo = self.message_id
        response.AffectedSOPClassUID = self._request.AffectedSOPClassUID
        response.Status = status
        if counts is not None:
            if status in (statuses.PENDING, statuses.CANCELLED):
                response.NumberOfRemainingSuboperations = counts.remaining
            response.NumberOfCompletedSuboperations = counts.completed
            response.NumberOfFailedSuboperations = counts.failed
            response.NumberOfWarningSuboperations = counts.warning
        if comment:
            response.ErrorComment = plain(comment)
        if offending is not None:
            response.OffendingElement = [offending]
        if identifier is not None:
            syntax = self._context.transfer_syntax[0]
            encoded = encode(identifier, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
            response.Identifier = BytesIO(encoded or b"")
        self._association.dimse.send_msg(response, self._context.context_id)
