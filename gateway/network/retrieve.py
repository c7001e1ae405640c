"""What C-MOVE and C-GET have in common: the request, its responses, and what is refused (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from gateway.archive.views import View, name_of
from gateway.conversion.frame_lists import INVALID_REQUEST, KEYS, NONE_FOUND, ExtractionError, FrameRequest
from gateway.conversion.identity import Identity
from gateway.network.fetched import Fetching
from gateway.network.policy import LOOK
from gateway.network.storage import plain
from gateway.objects.elements import tag_of
from gateway.observe import LOGGER, event, warning
from gateway.retrieval import transcript as statuses
from gateway.retrieval.decompress import Decompressing
from gateway.retrieval.engine import Destination, Outbound, run
from gateway.retrieval.frames import extracted
from gateway.retrieval.rendition import Deflating, Rendition, Sources
from gateway.retrieval.select import IdentifierError, Selection, selection
from gateway.retrieval.transcript import Outcome, Transcript
from gateway.retrieval.without_bulk import WithoutBulkData
from gateway.standard.retrieve_models import RETRIEVE_MODELS

if TYPE_CHECKING:
    from pynetdicom.association import Association

    from gateway.archive.index import Archive
    from gateway.archive.rows import InstanceRow
    from gateway.network.policy import NetworkSettings

TOO_MANY_MATCHES = 0xA701
IDENTIFIER_MISMATCH = 0xA900
CLASS_NOT_SUPPORTED = 0x0122
NOT_AUTHORISED = 0x0124
UNABLE_TO_PROCESS = 0xC000
CONVERSION_PENDING = 0xC001

# The counts of sub-operations are US.
MOST_INSTANCES = 0xFFFF

# Who waits sees progress, but a thousand small instances do not make a thousand responses.
PENDING_INTERVAL = 0.25


class Refused(Exception):
    """A request that ends before its first sub-operation."""

    def __init__(self, status: int, comment: str, offending: int | None = None) -> None:
        self.status = status
        self.comment = comment
        self.offending = offending


class RequestorGone(Exception):
    """The association that the request came on has ended."""


class _Cancelled(Exception):
    """The requestor wants no more of an instance that is being made."""


class Retrieval:
    """A C-MOVE or C-GET request and the responses to it.

    Parameters
    ----------
    association : Association
        Of the requestor, as acceptor.
    request : C_MOVE or C_GET
        The request primitive; its type is that of the responses.
    context : PresentationContext
        The accepted context it came in.
    options : collection of str
        What was negotiated for the SOP class.
    monotonic : callable
        The clock for the pending responses.
    """

    def __init__(
        self,
        association: Association,
        request: Any,  # the properties of pynetdicom's primitives are typed as optional
        context: Any,
        options: Collection[str] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.association = association
        self.options = options
        self.identity = Identity()
        self._request = request
        self._context = context
        self._monotonic = monotonic
        self._told = float("-inf")
        self.operation = type(request).__name__.replace("_", "-")
        self.model = str(context.abstract_syntax)
        self.calling: str = association.requestor.ae_title.strip()
        self.called: str = association.requestor.primitive.called_ae_title.strip()  # type: ignore[union-attr]
        self.message_id: int = request.MessageID
        self.priority: int = request.Priority
        self.view = View.RECEIVED
        self._frames: FrameRequest | None = None

    def authorise(self, settings: NetworkSettings) -> None:
        """Refuse what is not this operation's, or not the requestor's to ask.

        Raises
        ------
        Refused
            With the status that says so.
        """
        model = RETRIEVE_MODELS.get(self.model)
        if model is None or self.operation != f"C-{model.operation}":
            raise Refused(CLASS_NOT_SUPPORTED, f"{self.operation} in a context that was not negotiated for it")
        if not settings.allows(self.calling, "retrieve"):
            raise Refused(NOT_AUTHORISED, f"{self.calling} may not retrieve")

    def select(self, archive: Archive, settings: NetworkSettings) -> list[InstanceRow]:
        """Return what is to be sent.

        Raises
        ------
        Refused
            If nothing is.
        """
        wanted = self._selection()
        self._frames = wanted.frames
        self.view = wanted.named or settings.view_of(self.called)
        if self.view != View.RECEIVED:
            self._wait(archive, wanted, settings.query_wait)
        try:
            rows = wanted.rows(archive, self.view)
        except IdentifierError as error:
            raise Refused(IDENTIFIER_MISMATCH, str(error), error.tag) from None
        if len(rows) > MOST_INSTANCES:
            raise Refused(TOO_MANY_MATCHES, f"{len(rows)} instances, a {self.operation} can count {MOST_INSTANCES}")
        return rows

    def _wait(self, archive: Archive, wanted: Selection, seconds: float) -> None:
        """Wait until no conversion concerns the studies asked for, at most `seconds`, as a query does."""
        deadline = time.monotonic() + seconds
        while wanted.pending(archive, self.view):
            if self.gone():
                raise RequestorGone
            if self.cancelled():
                raise Refused(statuses.CANCELLED, "")
            if time.monotonic() >= deadline:
                # Half of a study in one guise and half in the other would be worse than to ask again later.
                raise Refused(CONVERSION_PENDING, "conversion pending")
            time.sleep(LOOK)

    def _selection(self) -> Selection:
        """Decode the Identifier."""
        syntax = self._context.transfer_syntax[0]
        content = self._request.Identifier or BytesIO()
        try:
            identifier = decode(content, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
        except Exception as error:  # whatever pydicom makes of arbitrary bytes
            raise Refused(UNABLE_TO_PROCESS, f"Identifier cannot be decoded: {error}") from error
        try:
            return selection(identifier, self.model, self.options)
        except IdentifierError as error:
            raise Refused(IDENTIFIER_MISMATCH, str(error), error.tag) from None

    def perform(
        self,
        rows: list[InstanceRow],
        destination: Destination,
        archive: Archive,
        outbound: Outbound,
        fetching: Fetching,
        **more: Any,
    ) -> Transcript:
        """Do the sub-operations, telling the requestor meanwhile; `more` goes to the engine.

        Raises
        ------
        RequestorGone
            If nobody waits for an answer any more.
        """
        if not rows and self._frames is None:
            return Transcript(rows)
        self.pending(Transcript(rows))
        try:
            progress = self._send(rows, destination, archive, outbound, fetching, **more)
        except _Cancelled:
            progress = Transcript(rows)
            progress.cancelled = True
        if self.gone():
            raise RequestorGone
        return progress

    def _send(
        self,
        rows: list[InstanceRow],
        destination: Destination,
        archive: Archive,
        outbound: Outbound,
        fetching: Fetching,
        **more: Any,
    ) -> Transcript:
        with self._made(archive, rows) as (sources, made):
            progress = Transcript(made)
            rendition = self._rendition(archive, progress)
            if destination.deflate:
                rendition = Deflating(rendition)
            with contextlib.closing(rendition), contextlib.closing(fetching):
                run(
                    sources,
                    made,
                    destination,
                    outbound,
                    transcript=progress,
                    on_result=lambda row, outcome: self._one_done(row, outcome, progress, fetching),
                    priority=self.priority,
                    cancelled=self.cancelled,
                    watch=lambda: self.watch(progress),
                    rendition=rendition,
                    **more,
                )
        return progress

    def _one_done(self, row: InstanceRow, outcome: Outcome, progress: Transcript, fetching: Fetching) -> None:
        """Note what became of one instance; who gets only a part of it does not have it."""
        if self._frames is None and RETRIEVE_MODELS[self.model].bulk_data:
            fetching.record(row, outcome)
        self.pending(progress)

    def _rendition(self, archive: Archive, progress: Transcript) -> Rendition:
        if not RETRIEVE_MODELS[self.model].bulk_data:
            return WithoutBulkData()
        return Decompressing(archive.files.intake, lambda: self.watch(progress))

    @contextlib.contextmanager
    def _made(self, archive: Archive, rows: list[InstanceRow]) -> Iterator[tuple[Sources, list[InstanceRow]]]:
        """Give what is sent: the instances, or at the FRAME level the one that is made of some of its frames."""
        if self._frames is None:
            yield archive, rows
            return
        if not rows:
            raise Refused(NONE_FOUND, f"the view {name_of(self.view)} has no such instance")
        nothing_yet = Transcript(rows)

        def watch() -> None:
            self.watch(nothing_yet)
            if self.cancelled():
                raise _Cancelled

        with extracted(archive, rows[0], self._frames, self.identity, watch) as (row, source):
            yield source, [row]

    def watch(self, progress: Transcript) -> None:
        """See whether the requestor is still there, and tell it that this takes a while."""
        if self.gone():
            raise RequestorGone
        self.pending(progress)

    def cancelled(self) -> bool:
        """Whether the requestor wants no more of it: C-CANCEL, or the end of its association."""
        return self.message_id in self.association.dimse.cancel_req or self.gone()

    def gone(self) -> bool:
        """Whether the association of the request has been aborted, lost or released."""
        association = self.association
        # After an abort of ours there is nobody to answer either.
        return association.is_aborted or association.dul.peek_next_pdu() is not None or not association.dul.is_alive()

    def serve(self, work: Callable[[], Transcript], **about: Any) -> None:
        """Do what a request asks and answer it, whatever comes of it.

        Parameters
        ----------
        work : callable
            Does the sub-operations.
        **about
            What the log says besides.
        """
        name = self.operation.removeprefix("C-").lower()
        try:
            done = self._refusing(work)
        except Refused as refused:
            warning(f"{name}.refused", peer=self.calling, status=f"{refused.status:04X}", reason=refused.comment)
            counts = Transcript(()) if refused.status == statuses.CANCELLED else None
            self.respond(refused.status, counts, comment=refused.comment, offending=refused.offending)
        except RequestorGone:
            warning(f"{name}.abandoned", peer=self.calling, reason="the association of the request has ended")
        except Exception as error:  # the requestor waits for an answer, whatever went wrong
            LOGGER.exception("%s of %s", self.operation, self.calling)
            self.respond(UNABLE_TO_PROCESS, comment=str(error))
        else:
            status = self.finish(done)
            event(
                f"{name}.done",
                peer=self.calling,
                **about,
                view=name_of(self.view),
                status=f"{status:04X}",
                completed=done.completed,
                failed=done.failed,
                warning=done.warning,
                reason=done.reason() or None,
            )
        # The idle timer has been running all the time; what the requestor says next must not come too late.
        self.association.dul._idle_timer.restart()

    def _refusing(self, work: Callable[[], Transcript]) -> Transcript:
        """Do the work; what is wrong with frames asked for is a refusal (table Y.4-1)."""
        try:
            return work()
        except ExtractionError as error:
            key = error.subject if error.subject in KEYS else KEYS[0]
            offending = tag_of(key) if error.status == INVALID_REQUEST else None
            raise Refused(error.status, str(error), offending) from error

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
        """Send a response with the fields that belong to its status (PS3.4 tables C.4-2 and C.4-3)."""
        response: Any = type(self._request)()
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
        self.association.dimse.send_msg(response, self._context.context_id)
