"""The upper layer of incoming associations (PS3.8 section 9): waits instead of polling, bounded, leaves nothing.

Built on pynetdicom's state machine, past which the data of an established association go: from the buffer of the socket
straight to where messages are put together, in the pieces in which they arrive. What is private there and relied on
here: the names overridden below and `_idle_timer`; tests/network/test_assumptions.py pins each. What this brings stands
in gateway/docs/transport.md.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import threading
import time
from typing import Any

from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.pdu_primitives import A_P_ABORT, P_DATA

from gateway.network.associate_pdus import Reading, read_request
from gateway.network.intake_socket import LARGEST_READ, MAXIMUM_PDU, IntakeSocket, Timeouts
from gateway.observe import LOGGER, warning

# Every PDU would be printed into strings for a log that nobody reads.
_config.LOG_HANDLER_LEVEL = "none"

# PS3.8 9.3.1: what PDUs there are; table 9-26: why a provider aborts.
_PDU_KINDS = range(1, 8)
UNRECOGNISED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 1, 2, 6
# PS3.8 tables 9-11, 9-22 and 9-26: an A-ASSOCIATE-RQ, P-DATA-TF and A-ABORT PDU; table 9-23: the head of a presentation
# data value item and its message control header (annex E.2).
A_ASSOCIATE_RQ, P_DATA_TF, A_ABORT = 1, 4, 7
# RFC 8446 5.1: what a TLS connection begins with; no PDU does.
TLS_HANDSHAKE = 22
_PDU_KIND = struct.Struct(">B")
_PDU_HEAD = struct.Struct(">BxL")
_ITEM_HEAD = struct.Struct(">LBB")


class UpperLayer(DULServiceProvider):
    """The upper layer, one thread, woken by the socket or by something to send."""

    socket: IntakeSocket | None  # type: ignore[assignment]

    def __init__(self, association: IncomingAssociation) -> None:
        super().__init__(association)
        self._association = association
        self._run_loop_delay = 0  # the waiting is done in _is_transport_event
        self._wake_descriptor = -1
        self._wake_lock = threading.Lock()
        self.ended = False
        self.to_user_queue = _Indications(association)
        self.daemon = True

    def send_pdu(self, primitive: Any) -> None:
        """Queue a primitive to be sent."""
        super().send_pdu(primitive)
        self.wake()

    def wait_for_room(self, most: int, seconds: float) -> bool:
        """Wait until at most `most` primitives are to be sent, or for some seconds; tell which it was."""
        waiting = self.to_provider_queue
        with waiting.not_full:  # notified whenever one is taken out
            return waiting.not_full.wait_for(lambda: waiting._qsize() <= most or not self.is_alive(), seconds)

    def kill_dul(self) -> None:
        """End the thread."""
        super().kill_dul()
        self.wake()

    def wake(self) -> None:
        """Make the thread look at its queues."""
        if threading.current_thread() is not self:
            with self._wake_lock:
                if self._wake_descriptor >= 0:
                    os.eventfd_write(self._wake_descriptor, 1)

    def run_reactor(self) -> None:
        """Run until the connection is closed, and leave nothing behind."""
        self._wake_descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            super().run_reactor()
        except Exception as error:  # an event that does not fit the state, by whatever bytes a peer sends
            warning("association.broken", peer=self.assoc.requestor.ae_title, reason=error)
        finally:
            with self._wake_lock:
                os.close(self._wake_descriptor)
                self._wake_descriptor = -1
            if self.socket is not None:
                self.socket._shutdown_socket()
            self._association.connection_lost()
            self.ended = True
            self.to_user_queue.put(None)  # type: ignore[arg-type]

    def _process_recv_primitive(self) -> bool:
        """Look for something to send; after an abort or release nothing is any more."""
        return not self._closing and super()._process_recv_primitive()

    def _is_transport_event(self) -> bool:
        """Wait for a PDU, unless there is something else to do."""
        if not self.event_queue.empty():
            return False
        if self.socket is None or self.socket.socket is None:
            time.sleep(0.001)
        elif self._closing:
            self._drain(self.socket)
        elif not self.socket.wait(1.0, self._wake_descriptor):
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake_descriptor)
            return False
        else:
            self._read_pdu_data()
            # What has come already is taken in the same turn, unless something else is to be done first.
            while self.socket.buffered and self.event_queue.empty() and self.to_provider_queue.empty():
                self._read_pdu_data()
            return True
        return super()._is_transport_event()

    def _read_pdu_data(self) -> None:
        """Read one PDU; the data of an established association are handed over while they come in."""
        connection = self.socket
        assert connection is not None
        # The base class does this after reading: too late on a slow line, or with one PDU close behind the other.
        self._idle_timer.restart()
        try:
            if self.state_machine.current_state == "Sta2" and connection.peek(_PDU_KIND) == (TLS_HANDSHAKE,):
                remedy = "have it call the port for TLS, or without TLS"
                warning("association.tls_unexpected", address=self.assoc.requestor.address, remedy=remedy)
                self._refuse_pdu(UNRECOGNISED_PDU)
            elif self.state_machine.current_state == "Sta6" and connection.peek(_PDU_KIND) == (P_DATA_TF,):
                self._hand_over(connection)
            else:
                self._read_other(connection)
        except (OSError, EOFError):
            self.event_queue.put("Evt17")
        except Exception as error:  # whatever is made of arbitrary bytes
            said = str(error) if isinstance(error, ValueError) else ""
            self._invalid(said or "a PDU cannot be decoded", INVALID_PARAMETER)

    def _read_other(self, connection: IntakeSocket) -> None:
        """Read a PDU that is decoded as a whole; the base class logs a traceback for one that cannot be."""
        kind, length = _next(connection, _PDU_HEAD)
        waiting = self.state_machine.current_state == "Sta2"
        if kind not in _PDU_KINDS:
            self._invalid(f"PDU of type {kind:02X}H, there are 01H to 07H", UNRECOGNISED_PDU)
            return
        if waiting and kind not in (A_ASSOCIATE_RQ, A_ABORT):
            self._invalid(f"PDU of type {kind:02X}H in place of an association request", UNEXPECTED_PDU)
            return
        if length > LARGEST_READ:
            raise ValueError(f"PDU of {length} bytes, expected {LARGEST_READ} at most")
        body = connection.recv(length)
        if len(body) < length:
            if waiting:
                self._warn(f"the connection ends within the association request, after {len(body)} of {length} bytes")
            raise EOFError
        pdu, happened = self._decode_pdu(bytearray(_PDU_HEAD.pack(kind, length)) + body)
        self._recv_pdu.put(pdu)
        self.event_queue.put(happened)

    def _decode_pdu(self, bytestream: bytearray) -> tuple[Any, str]:
        """Decode a PDU and return it with the event that it is (PS3.8 9.2.1)."""
        if bytestream[0] == A_ASSOCIATE_RQ:
            self._association.reading = read_request(bytes(bytestream))
            bytestream = bytearray(self._association.reading.pdu)
        pdu, happened = super()._decode_pdu(bytestream)
        if not isinstance(pdu, A_ABORT_RQ):
            pdu.to_primitive()  # raises here what it would raise in the middle of the state machine
        return pdu, happened

    def _invalid(self, reason: object, diagnostic: int) -> None:
        """Say in the log and to the peer what was wrong with a PDU (PS3.8 9.2.2, Evt19)."""
        self._warn(reason)
        self._refuse_pdu(diagnostic)

    def _warn(self, reason: object) -> None:
        requestor = self.assoc.requestor
        peer = requestor.ae_title or None
        warning("association.invalid_message", peer=peer, address=requestor.address, reason=reason)

    def _refuse_pdu(self, diagnostic: int) -> None:
        """Have the association aborted for what has come (Evt19)."""
        if self.state_machine.current_state == "Sta2":
            abort = A_P_ABORT()
            abort.provider_reason = diagnostic
            self.to_provider_queue.put(abort)  # AA-1 takes its reason from there
        self.event_queue.put("Evt19")

    def _hand_over(self, connection: IntakeSocket) -> None:
        """Take the fragments of one P-DATA-TF PDU (PS3.8 9.3.5 and annex E)."""
        _, left = _next(connection, _PDU_HEAD)
        if left > LARGEST_READ:
            raise ValueError(f"PDU of {left} bytes, agreed were {MAXIMUM_PDU}")
        take = self._association.take_fragment
        while left:
            if left < _ITEM_HEAD.size:
                raise ValueError("a PDU ends within the head of a PDV")
            length, context_id, control = _next(connection, _ITEM_HEAD)
            left -= length + 4
            rest = length - 2
            if rest < 0 or left < 0:
                raise ValueError("a PDV is not as long as it says")
            while True:
                piece = connection.piece(rest)
                if rest and not piece:
                    raise EOFError
                self._idle_timer.restart()
                rest -= len(piece)
                take(context_id, control, piece, not rest)
                if not rest:
                    break

    def send_command(self, context_id: int, command: bytes, maximum: int) -> None:
        """Send a command set without data set; from the thread of the upper layer at once, if nothing else waits.

        Parameters
        ----------
        context_id : int
            Presentation context.
        command : bytes
            The command set, encoded.
        maximum : int
            The longest PDU body that the peer takes, 0 for any.
        """
        room = max(1, maximum - 6) if maximum else len(command)
        at_once = threading.current_thread() is self and self.to_provider_queue.empty() and self.socket is not None
        for start in range(0, len(command), room):
            value = bytes((1 | (start + room >= len(command)) << 1,)) + command[start : start + room]
            if at_once:
                head = _PDU_HEAD.pack(P_DATA_TF, len(value) + 5) + struct.pack(">LB", len(value) + 1, context_id)
                self.socket.send(head + value)  # type: ignore[union-attr]
            else:
                primitive: Any = P_DATA()
                primitive.presentation_data_value_list = [[context_id, value]]
                self.send_pdu(primitive)

    @property
    def _closing(self) -> bool:
        return self.state_machine.current_state == "Sta13"

    def _drain(self, connection: IntakeSocket) -> None:
        """Leave it to the peer to close first, for a while; a close with bytes unread would destroy what was sent."""
        deadline = time.monotonic() + Timeouts.closing
        connection.farewell()
        with contextlib.suppress(OSError):
            while connection.wait(max(0.0, deadline - time.monotonic())):
                if not connection.discard():
                    break
        connection.close()


def _next(connection: IntakeSocket, structure: struct.Struct) -> tuple[Any, ...]:
    """Take what comes next."""
    found = connection.peek(structure)
    if found is None:
        raise EOFError
    connection.skip(structure.size)
    return found


class _Indications(queue.Queue[Any]):
    """Indications to the user of the upper layer; each also wakes the thread that waits for messages."""

    def __init__(self, association: IncomingAssociation) -> None:
        super().__init__()
        self._association = association

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an indication."""
        super().put(item, block, timeout)
        self._association.dimse.msg_queue.put((None, None))


class IncomingAssociation(Association):
    """An association that a peer has requested, one thread besides that of its upper layer."""

    # Seconds that an abort or release may take before the connection is closed from this side.
    LONGEST_END = Timeouts.closing + 5

    dul: UpperLayer

    def __init__(self, ae: Any, connection: socket.socket) -> None:
        super().__init__(ae, "acceptor")
        # What the request was, as soon as there is one.
        self.reading: Reading | None = None
        self.dul = UpperLayer(self)
        # The base class has set these on the provider that was replaced.
        self.acse_timeout = Timeouts.request
        self.network_timeout = Timeouts.idle
        self.set_socket(IntakeSocket(self, connection))

    def take_fragment(self, context_id: int, control: int, piece: memoryview, complete: bool) -> None:
        """Take a piece of a fragment of a message, in the thread of the upper layer.

        Parameters
        ----------
        context_id, control : int
            Presentation context and message control header.
        piece : memoryview
            Valid until the return.
        complete : bool
            Whether the fragment ends with it.
        """
        raise NotImplementedError

    def connection_lost(self) -> None:
        """Called in the thread of the upper layer when it ends."""

    def prepare(self) -> bool:
        """Called first, in the thread of the association; False if nothing can come of the connection."""
        return True

    def serve(self) -> None:
        """Negotiate and serve; called in the thread of the association."""
        raise NotImplementedError

    def run_reactor(self) -> None:
        """Run both threads to their end."""
        if not self.prepare():
            if self.dul.socket is not None:
                self.dul.socket._shutdown_socket()
            return
        self.dul.start()
        self._started_dul = True
        try:
            self.serve()
        except Exception:
            LOGGER.exception("association of %s", self.requestor.ae_title)
            self.acse.send_abort(0x02)
        finally:
            self._finish()

    def _finish(self) -> None:
        """Wait for the thread of the upper layer; if the peer keeps it from ending, close the connection."""
        self.is_established = False
        self._kill = True
        if self.dul.state_machine.current_state == "Sta2":  # no request has come; there is nothing to say either
            self.dul.kill_dul()
        self.dul.join(self.LONGEST_END)
        if self.dul.is_alive():
            self.dul.kill_dul()
            if self.dul.socket is not None:
                self.dul.socket._shutdown_socket()
            self.dul.join()
