"""Incoming associations: negotiation, the stream of messages, and which service serves which.

C-STORE is served in the thread of the upper layer, so that no byte waits for another thread; everything else in the
thread of the association, so that an abort or C-CANCEL is noticed meanwhile.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydicom import config
from pydicom.uid import UID
from pynetdicom.acse import ACSE
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_CANCEL_RQ, C_STORE_RQ, C_STORE_RSP, N_EVENT_REPORT_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_GET, C_MOVE, C_STORE, N_ACTION, N_EVENT_REPORT
from pynetdicom.pdu_primitives import (
    A_ABORT,
    A_ASSOCIATE,
    A_P_ABORT,
    A_RELEASE,
    P_DATA,
    SOPClassExtendedNegotiation,
)
from pynetdicom.transport import AddressInformation

from gateway.errors import NetworkError
from gateway.network import policy
from gateway.network.commands import StoreRequest, request_of, store_request, store_response
from gateway.network.commitment import Answers, serve_action
from gateway.network.find import serve_find
from gateway.network.get import serve_get
from gateway.network.intake_socket import MAXIMUM_PDU, Timeouts
from gateway.network.move import serve_move
from gateway.network.negotiation import ACCEPTED, REPORT, negotiate, negotiate_extended, role_answers
from gateway.network.policy import Refusal, Serving
from gateway.network.results import serve_result
from gateway.network.storage import CANNOT_UNDERSTAND, SUCCESS, Caller, Reception, Request
from gateway.network.transport import IncomingAssociation
from gateway.objects.alike import HeaderReader
from gateway.observe import event, warning

if TYPE_CHECKING:
    from gateway.network.server import Server

# What a peer writes into a command set is checked by who uses it; a warning on stderr tells nobody anything.
config.settings.reading_validation_mode = config.IGNORE

# Command sets are some hundred bytes; an Identifier with a list of 100,000 UIDs is 6.5 MB.
LONGEST_COMMAND = 1 << 16
LONGEST_IDENTIFIER = 1 << 24

# How often an association without messages looks at its timers.
TICK = 5.0


class Negotiator(ACSE):
    """Decides whether an association comes about."""

    def _negotiate_as_acceptor(self) -> None:
        association: Any = self.assoc
        request: Any = self.requestor.primitive
        self.requestor.ae_title = request.calling_ae_title
        reading = association.reading
        refusal = association.admit(reading.calling, reading.called, reading.refusal)
        if refusal is not None:
            self.send_reject(refusal.result, refusal.source, refusal.diagnostic)
            return
        caller = association.caller
        may = caller.peer.may | ({REPORT} if caller.prior else frozenset())
        roles = self.requestor.role_selection
        proposed = request.presentation_context_definition_list
        answers = negotiate(
            proposed, self.requestor.sop_class_common_extended, may, roles, association.server.deliverable()
        )
        association._accepted_cx = {context.context_id: context for context in answers if context.result == ACCEPTED}
        association._rejected_cx = [context for context in answers if context.result != ACCEPTED]
        accepted = {str(context.abstract_syntax) for context in association._accepted_cx.values()}
        for sop_class, agreed in negotiate_extended(self.requestor.sop_class_extended, accepted).items():
            association.options[sop_class] = agreed.options
            item: Any = SOPClassExtendedNegotiation()
            item.sop_class_uid = UID(sop_class)
            item.service_class_application_information = agreed.answer
            self.acceptor.add_negotiation_item(item)
        for role in role_answers(answers, roles):
            self.acceptor.add_negotiation_item(role)
        self.send_accept()
        association.is_established = True


class Messages(DIMSEServiceProvider):
    """Puts messages together from fragments, except for data sets that are stored: those are not held in memory."""

    def __init__(self, association: Acceptor) -> None:
        super().__init__(association)
        self._association = association
        self._reception: Reception | None = None
        self._begun = bytearray()  # of a fragment that is none of a data set to be stored
        self._context_id = 0
        self._read = HeaderReader()
        self.storing = False  # from the request to the response
        self.stored = 0
        self.refused = 0
        self._sending = threading.Lock()

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message; C-STORE is answered in another thread, and fragments of two messages may not be mixed."""
        with self._sending:
            super().send_msg(primitive, context_id)

    @property
    def partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._reception is not None or self.message is not None or bool(self._begun)

    def take_fragment(self, context_id: int, control: int, piece: memoryview, complete: bool) -> None:
        """Take a piece of a fragment (PS3.8 annex E)."""
        if self._reception is None:
            self._begun += piece
            if complete:
                fragment, self._begun = bytes(self._begun), bytearray()
                self._take(context_id, control, fragment)
        elif control & 1 or context_id != self._context_id:
            raise ValueError("a message begins before the data set of the last one has ended")
        else:
            self._reception.write(piece)
            if complete and control & 2:
                self._store()

    def discard(self) -> None:
        """Forget a data set that has not come to its end."""
        if self._reception is not None:
            self._reception.discard()
            self._reception = None

    def _take(self, context_id: int, control: int, value: bytes) -> None:
        """Take a fragment of a command set or identifier."""
        if self.message is None:
            request = store_request(value) if control & 3 == 3 else None
            if request is not None:
                self.cancel_req = {}
                self._begin(context_id, request)
                return
            self.message = DIMSEMessage()
        message: Any = self.message
        fragment: Any = P_DATA()
        fragment.presentation_data_value_list = [[context_id, bytes((control,)) + value]]
        self.receive_primitive(fragment)
        if type(message) not in (DIMSEMessage, C_CANCEL_RQ, C_STORE_RSP, N_EVENT_REPORT_RSP):
            # Another request has come: what was cancelled before is over, and message IDs come again. This is known
            # before the request is queued, since an Identifier follows; what cancels it cannot be here yet.
            self.cancel_req = {}
        if self.message is None:
            return
        if isinstance(message, C_STORE_RQ):
            self.message = None
            self._begin(context_id, request_of(message.command_set))
        elif message.encoded_command_set.tell() > LONGEST_COMMAND or message.data_set.tell() > LONGEST_IDENTIFIER:
            raise ValueError("a message is too long")

    def _begin(self, context_id: int, request: StoreRequest) -> None:
        """Begin to receive the data set of a C-STORE request."""
        association = self._association
        context: Any = association._accepted_cx[context_id]
        if not context.as_scp:
            raise ValueError("a C-STORE request in a context where the box has no SCP role")
        self.storing = True
        self._context_id = context_id
        self._reception = Reception(
            association.server.registrar,
            association.caller,
            Request(*request, str(context.transfer_syntax[0])),
            str(context.abstract_syntax),
            self._read,
        )

    def _store(self) -> None:
        """Store the complete object and answer."""
        reception = self._reception
        assert reception is not None
        self._reception = None
        status, comment = reception.finish()
        request = reception.request
        self.respond(self._context_id, request.message_id, status, comment, request.sop_class, request.sop_instance)
        self.storing = False
        if self._association.stopping:
            self.msg_queue.put((None, None))

    def respond(
        self, context_id: int, message_id: int, status: int, comment: str, sop_class: str, sop_instance: str
    ) -> None:
        """Send a C-STORE response."""
        self.stored += status == SUCCESS
        self.refused += status != SUCCESS
        if len(sop_class) > 64 or len(sop_instance) > 64:  # they come back as they came, unless they cannot
            sop_class = sop_instance = ""
        command = store_response(message_id, status, comment, sop_class, sop_instance)
        with self._sending:
            self._association.dul.send_command(context_id, command, self.maximum_pdu_size)


class Acceptor(IncomingAssociation):
    """An association a peer has requested.

    Parameters
    ----------
    server : Server
        Archive, settings and limits.
    connection : socket.socket
        The connection.
    address : tuple
        The peer's, as `socket.accept` returns it.
    tls : Serving, optional
        What the connection is secured with before anything else.
    """

    dimse: Messages

    def __init__(self, server: Server, connection: socket.socket, address: Any, tls: Serving | None = None) -> None:
        super().__init__(server.ae, connection)
        self.server = server
        self._tls = tls
        self.settings = server.settings
        self.caller: Caller
        # What extended negotiation came to, by abstract syntax.
        self.options: dict[str, frozenset[str]] = {}
        # What is to be said of its requests for storage commitment.
        self.answers = Answers(self)
        self.stopping = False
        self.name = f"association {address[0]}:{address[1]}"
        self.acse = Negotiator(self)
        self.dimse = Messages(self)
        self._began = time.monotonic()
        self._holds_slot = False
        self.acceptor.ae_title = self.settings.ae_title
        self.acceptor.maximum_length = MAXIMUM_PDU
        self.acceptor.implementation_class_uid = server.ae.implementation_class_uid
        self.acceptor.implementation_version_name = server.ae.implementation_version_name
        self.acceptor.address_info = AddressInformation.from_tuple(connection.getsockname())
        self.requestor.address_info = AddressInformation.from_tuple(address)

    def admit(self, calling: str, called: str, illegal: Refusal | None = None) -> Refusal | None:
        """Return why the association is refused, `illegal` or another reason; if it is not, a slot is taken."""
        address = self.requestor.address
        refusal = illegal or self.settings.refusal(calling, called, address)
        if refusal is None and not self.server.slots.take(self.server.worker):
            refusal = policy.LIMIT_EXCEEDED
        if refusal is not None:
            warning("association.rejected", peer=calling, called=called, address=address, reason=refusal.reason)
            return refusal
        self._holds_slot = True
        peer = self.settings.peer(calling)
        assert peer is not None
        self.caller = Caller(peer, called, calling in self.settings.priors_from)
        event("association.accepted", peer=calling, called=called, address=address)
        return None

    def prepare(self) -> bool:
        """Shake hands, where the connection is to be secure."""
        if self._tls is None:
            return True
        from gateway.network import secure

        connection = self.dul.socket
        assert connection is not None
        assert connection.socket is not None
        try:
            connection.secured(secure.accept(connection.socket, self._tls, Timeouts.handshake, self._still_wanted))
        except NetworkError as error:
            if not self.stopping:
                address = self.requestor.address
                warning("tls.refused", address=address, reason=error.problem, remedy=error.remedy)
            return False
        return True

    def _still_wanted(self) -> None:
        if self.stopping:
            raise ConnectionAbortedError

    def stop(self) -> None:
        """Abort as soon as no C-STORE is on its way."""
        self.stopping = True
        if not self.is_established:
            self.dul.to_user_queue.put(None)  # ends the wait for a request
        self.dimse.msg_queue.put((None, None))

    def take_fragment(self, context_id: int, control: int, piece: memoryview, complete: bool) -> None:
        """Pass a piece of a message on."""
        self.dimse.take_fragment(context_id, control, piece, complete)

    def connection_lost(self) -> None:
        """Leave no part of an object behind."""
        self.dimse.discard()

    def run_reactor(self) -> None:
        """Serve the association to its end and give everything back."""
        try:
            super().run_reactor()
        finally:
            self.answers.end()
            if self._holds_slot:
                self.server.slots.give(self.server.worker)
                event(
                    "association.ended",
                    peer=self.caller.peer.ae_title,
                    how="released" if self.is_released else "aborted",
                    stored=self.dimse.stored,
                    refused=self.dimse.refused,
                    seconds=f"{time.monotonic() - self._began:.1f}",
                )
            self.server.ended(self)

    def serve(self) -> None:
        """Negotiate, then serve one message after the other."""
        request = self.dul.receive_pdu(wait=True, timeout=Timeouts.request)
        if not isinstance(request, A_ASSOCIATE):
            return
        self.requestor.primitive = request
        self.acse.negotiate_association()
        while self.is_established:
            try:
                context_id, message = self.dimse.msg_queue.get(timeout=min(TICK, self.answers.pause))
            except queue.Empty:
                context_id = message = None
            if message is not None:
                self._serve_request(message, context_id)
            else:
                self._look_around()
            if self.is_established:
                self.answers.look()

    def _look_around(self) -> None:
        """See what else has happened than a message."""
        indication = self.dul.receive_pdu()
        # In this order: what begins after the first line has restarted the timer before the second.
        longest = Timeouts.stall if self.dimse.partial else Timeouts.idle
        idle = Timeouts.idle - self.dul._idle_timer.remaining
        if isinstance(indication, A_RELEASE):
            self.acse.send_release(is_response=True)
            self.is_released = True
            self.is_established = False
        elif isinstance(indication, (A_ABORT, A_P_ABORT)) or self.dul.ended:
            self.is_aborted = True
            self.is_established = False
        elif self.stopping and not self.dimse.storing:
            self._give_up("the gateway stops")
        elif idle > longest:
            self._give_up(f"nothing was received for {idle:.0f} s")

    def _give_up(self, reason: str) -> None:
        warning("association.aborted", peer=self.caller.peer.ae_title, reason=reason)
        self.acse.send_abort(0x00)
        self.is_aborted = True
        self.is_established = False

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Serve a request other than a C-STORE with data set."""
        if threading.current_thread() is not self:
            # pynetdicom has a thread of its own for each N-EVENT-REPORT; it has its turn like any other request.
            self.dimse.msg_queue.put((context_id, msg))
            return
        if isinstance(msg, N_EVENT_REPORT) and self.answers.responded(msg):
            return
        context = self._accepted_cx.get(context_id)
        service = _SERVICES.get(type(msg))
        if context is None or service is None or not msg.is_valid_request:
            self._give_up(f"unexpected message {type(msg).__name__.replace('_', '-')}")
        else:
            service(self, msg, context)


def _echo(association: Acceptor, request: Any, context: Any) -> None:
    """Answer a C-ECHO request (PS3.7 9.1.5)."""
    response: Any = C_ECHO()
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID
    response.Status = SUCCESS
    association.dimse.send_msg(response, context.context_id)


def _store_nothing(association: Acceptor, request: Any, context: Any) -> None:
    """Answer a C-STORE request that says it has no data set."""
    association.dimse.respond(
        context.context_id,
        request.MessageID,
        CANNOT_UNDERSTAND,
        "the request has no data set",
        str(request.AffectedSOPClassUID or ""),
        str(request.AffectedSOPInstanceUID or ""),
    )


def _move(association: Acceptor, request: Any, context: Any) -> None:
    """Serve a C-MOVE request."""
    server = association.server
    server.registrar.visible()
    serve_move(
        association,
        request,
        context,
        archive=server.archive,
        settings=association.settings,
        outbound=server.outbound,
        options=association.options.get(str(context.abstract_syntax), frozenset()),
    )


def _answering(serve: Callable[..., None]) -> Callable[[Acceptor, Any, Any], None]:
    """Return a service that answers on its own association, from the archive and all that was acknowledged before."""

    def service(association: Acceptor, request: Any, context: Any) -> None:
        association.server.registrar.visible()
        serve(
            association,
            request,
            context,
            archive=association.server.archive,
            settings=association.settings,
            options=association.options.get(str(context.abstract_syntax), frozenset()),
        )

    return service


_SERVICES = {
    C_ECHO: _echo,
    C_STORE: _store_nothing,
    C_FIND: _answering(serve_find),
    C_GET: _answering(serve_get),
    C_MOVE: _move,
    N_ACTION: serve_action,
    N_EVENT_REPORT: _answering(serve_result),
}
