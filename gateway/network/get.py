"""C-GET SCP of the Query/Retrieve service class: sub-operations on the association of the request (PS3.4 C.4.3, C.5.3).

The bytes of an instance go to the upper layer as fast as the requestor takes them; what waits to be sent is bounded.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pydicom.uid import UID
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE, N_EVENT_REPORT
from pynetdicom.pdu_primitives import P_DATA

from gateway.errors import NetworkError
from gateway.network.fetched import Fetching
from gateway.network.pdus import LARGEST_SENT
from gateway.network.requestor import Timeouts
from gateway.network.retrieve import RequestorGone, Retrieval
from gateway.objects.stream import Outgoing, every_byte
from gateway.observe import fault
from gateway.retrieval.engine import Destination
from gateway.retrieval.rendition import Offer
from gateway.retrieval.transcript import Outcome, Transcript

if TYPE_CHECKING:
    from pynetdicom.presentation import PresentationContext

    from gateway.archive.index import Archive
    from gateway.network.acceptor import Acceptor
    from gateway.network.policy import NetworkSettings

# Bytes that may wait to be sent.
MOST_WAITING = 1 << 20


def serve_get(
    association: Acceptor,
    request: Any,
    context: PresentationContext,
    *,
    archive: Archive,
    settings: NetworkSettings,
    options: Collection[str] = (),
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Serve one C-GET request to its final response, in the thread of the association it came on.

    Parameters
    ----------
    association : Acceptor
        Of the requestor.
    request : C_GET
        The request primitive.
    context : PresentationContext
        The accepted context it came in.
    archive : Archive
        What can be retrieved.
    settings : NetworkSettings
        Views of the called AE titles and peers.
    options : collection of str
        What was negotiated for the SOP class.
    monotonic : callable
        The clock for the pending responses.
    """
    get = Retrieval(association, request, context, options, monotonic)
    own = OwnAssociation(association, get.gone)
    destination = Destination(get.calling, association.requestor.address or "", 0, get.called)

    def work() -> Transcript:
        get.authorise(settings)
        return get.perform(
            get.select(archive, settings), destination, archive, own, Fetching(archive, settings, get.calling)
        )

    get.serve(work)
    # What came while a response was waited for, a request to stop among it, is looked at now.
    association.dimse.msg_queue.put((None, None))


class OwnAssociation:
    """The association of a C-GET request as the one that instances are stored on; the `Outbound` of the engine.

    Parameters
    ----------
    association : Acceptor
        The association.
    gone : callable
        Tells whether it has ended.
    timeouts : Timeouts
        How long a response to C-STORE may take.
    """

    def __init__(
        self,
        association: Acceptor,
        gone: Callable[[], bool],
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        self._association = association
        self._gone = gone
        self._timeouts = timeouts
        self._watch: Callable[[], None] = lambda: None
        self._message_id = 0
        self._sending = False
        contexts = association.accepted_contexts
        self._contexts = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0])): context.context_id
            for context in contexts
            if context.as_scu
        }
        longest = association.dimse.maximum_pdu_size or LARGEST_SENT
        self._longest = (min(longest, LARGEST_SENT) - 6) & ~1

    def connect(
        self, destination: Destination, offers: Sequence[Offer], *, watch: Callable[[], None] | None = None
    ) -> OwnAssociation:
        """Return the association, whose contexts are what the requestor has proposed."""
        self._watch = watch or self._watch
        return self

    def accepted(self, sop_class: str) -> tuple[str, ...]:
        """Return the transfer syntaxes in which the requestor takes a class."""
        return tuple(syntax for abstract, syntax in self._contexts if abstract == sop_class)

    def unknown(self, sop_class: str) -> bool:
        """Tell whether the requestor has no context for a class."""
        return not self.accepted(sop_class)

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
        """Send one instance and return what the requestor answers; see `StoreAssociation.store`."""
        self._message_id = self._message_id % 0xFFFF + 1
        context_id: Any = self._contexts[sop_class, transfer_syntax]
        request = C_STORE()
        request.MessageID = self._message_id
        request.AffectedSOPClassUID = UID(sop_class)
        request.AffectedSOPInstanceUID = UID(sop_instance)
        request.Priority = priority
        chunks = every_byte(source)
        first = next(chunks)  # what cannot be read at all costs no association
        fault("sender.store")
        self._sending = True
        try:
            message = C_STORE_RQ()
            message.primitive_to_message(request)
            message.command_set.CommandDataSetType = 0x0001
            for primitive in message.encode_msg(context_id, self._longest + 6):
                self._association.dul.send_pdu(primitive)
            self._send(context_id, itertools.chain((first,), chunks))
            outcome = self._answer()
        except BaseException:
            self.abort()
            raise
        self._sending = False
        return outcome

    def _send(self, context_id: int, chunks: Iterable[bytes]) -> None:
        """Send a data set."""
        waiting = bytearray()
        for chunk in chunks:
            waiting += chunk
            # The last fragment bears a mark: it waits until it is known to be the last.
            while len(waiting) > self._longest:
                self._fragment(context_id, bytes(waiting[: self._longest]))
                del waiting[: self._longest]
        self._fragment(context_id, bytes(waiting), last=True)

    def _fragment(self, context_id: int, data: bytes, *, last: bool = False) -> None:
        """Give a fragment to the upper layer once the requestor has taken enough of those before."""
        # No pending response meanwhile: fragments of two messages may not be mixed.
        while not self._association.dul.wait_for_room(max(2, MOST_WAITING // self._longest), 1.0):
            if self._gone():
                break
        if self._gone():
            raise RequestorGone
        primitive: Any = P_DATA()
        primitive.presentation_data_value_list = [[context_id, (b"\2" if last else b"\0") + data]]
        self._association.dul.send_pdu(primitive)

    def _answer(self) -> Outcome:
        limit = self._timeouts.response
        deadline = time.monotonic() + limit
        while True:
            try:
                _, answer = self._association.dimse.msg_queue.get(timeout=1)
            except queue.Empty:
                answer = None
            if isinstance(answer, N_EVENT_REPORT) and self._association.answers.responded(answer):
                continue
            if answer is not None:
                break
            self._watch()
            if time.monotonic() > deadline:
                raise self._error(f"no response within {limit:g} s")
        asked = isinstance(answer, C_STORE) and answer.MessageIDBeingRespondedTo == self._message_id
        if not asked or answer.Status is None:
            raise self._error("answered something that was not asked")
        return Outcome(answer.Status, answer.ErrorComment or "")

    def _error(self, problem: str) -> NetworkError:
        return NetworkError(self._association.requestor.ae_title.strip(), problem)

    def release(self) -> None:
        """Do nothing: the association is the requestor's."""

    def abort(self) -> None:
        """End the association if it is in the middle of an instance; never raises."""
        if self._sending and not self._association.is_aborted:
            self._association.acse.send_abort(0x00)
            self._association.is_aborted = True
            self._association.is_established = False
