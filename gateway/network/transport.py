"""Socket and upper layer of incoming associations (PS3.8 section 9): waits instead of polling, bounded, leaves nothing.

Built on pynetdicom's state machine. What is private there and relied on here: the names overridden below and
`_idle_timer`; tests/network/test_assumptions.py pins each.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import threading
import time
from typing import Any

from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import AssociationSocket

from gateway.observe import LOGGER, warning

# Every PDU would be printed into strings for a log that nobody reads.
_config.LOG_HANDLER_LEVEL = "none"

# Offered to the peer; a larger PDU costs fewer system calls and twice its size in memory for each association.
MAXIMUM_PDU = 1 << 17

# Some peers count the PDU header wrongly; what is far beyond the maximum is an attack or not DICOM.
LARGEST_READ = 1 << 20


class Timeouts:
    """How long an association waits, in seconds."""

    # For an association request: a connection that does not ask is a port scanner (ARTIM, PS3.8 9.1.5).
    request = 30.0
    # In the middle of a PDU or message: a network that stands still this long is broken.
    stall = 60.0
    # Between messages: modalities keep an association open while they reconstruct the next image.
    idle = 600.0
    # For the peer to close after a release, rejection or abort; then the box does.
    closing = 0.5


class IntakeSocket(AssociationSocket):
    """A socket that acknowledges at once and reads whole PDUs."""

    def __init__(self, association: Association, connection: socket.socket) -> None:
        super().__init__(association, client_socket=connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Linux forgets a quick ACK after a while, hence again after every read.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        connection.settimeout(Timeouts.stall)

    def recv(self, nr_bytes: int) -> bytearray:
        """Return `nr_bytes`, or fewer when the peer has closed.

        DCMTK, and what is built on it, writes header and body of a PDU apart with Nagle's algorithm on: until the
        header is acknowledged the body does not leave it.
        """
        if nr_bytes > LARGEST_READ:
            raise OSError(f"PDU of {nr_bytes} bytes, agreed were {MAXIMUM_PDU}")
        assert self.socket is not None
        buffer = bytearray(nr_bytes)
        rest = memoryview(buffer)
        while rest:
            count = self.socket.recv_into(rest)
            if not count:
                return buffer[: nr_bytes - len(rest)]
            rest = rest[count:]
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return buffer

    def discard(self) -> int:
        """Read what is there, throw it away and return how much it was."""
        return 0 if self.socket is None else len(self.socket.recv(1 << 16))

    @property
    def ready(self) -> bool:
        """Whether something can be read."""
        return self.wait(0)

    def wait(self, seconds: float, *others: int) -> bool:
        """Wait until the socket or one of the `others` can be read and tell whether it is the socket."""
        descriptor = -1 if self.socket is None else self.socket.fileno()
        if descriptor < 0:
            return False
        poller = select.poll()  # select.select fails from descriptor 1024 on
        for number in (descriptor, *others):
            poller.register(number, select.POLLIN)
        return any(number == descriptor for number, _ in poller.poll(seconds * 1000))

    def _shutdown_socket(self) -> None:
        """Close; pynetdicom's own leaves the descriptor open if the peer was faster."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


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
        else:
            self.socket.wait(1.0, self._wake_descriptor)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake_descriptor)
        return super()._is_transport_event()

    @property
    def _closing(self) -> bool:
        return self.state_machine.current_state == "Sta13"

    def _drain(self, connection: IntakeSocket) -> None:
        """Leave it to the peer to close first, for a while; a close with bytes unread would destroy what was sent."""
        deadline = time.monotonic() + Timeouts.closing
        with contextlib.suppress(OSError):
            while connection.wait(max(0.0, deadline - time.monotonic())):
                if not connection.discard():
                    break
        connection.close()


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
        self.dul = UpperLayer(self)
        # The base class has set these on the provider that was replaced.
        self.acse_timeout = Timeouts.request
        self.network_timeout = Timeouts.idle
        self.set_socket(IntakeSocket(self, connection))

    def connection_lost(self) -> None:
        """Called in the thread of the upper layer when it ends."""

    def serve(self) -> None:
        """Negotiate and serve; called in the thread of the association."""
        raise NotImplementedError

    def run_reactor(self) -> None:
        """Run both threads to their end."""
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
