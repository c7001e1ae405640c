"""The socket of an incoming association: acknowledges at once, is read ahead into one buffer, waits with limits."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

# Offered to the peer; a larger PDU costs fewer system calls and twice its size in memory for each association.
MAXIMUM_PDU = 1 << 17

# Some peers count the PDU header wrongly; what is far beyond the maximum is an attack or not DICOM.
LARGEST_READ = 1 << 20

# What a socket is read into, again and again: a PDU and the beginning of the next one.
BUFFER = 1 << 18


class Timeouts:
    """How long an association waits, in seconds."""

    # For a TLS handshake: some kilobytes in both directions and a signature of a slow modality.
    handshake = 15.0
    # For an association request: a connection that does not ask is a port scanner (ARTIM, PS3.8 9.1.5).
    request = 30.0
    # In the middle of a PDU or message: a network that stands still this long is broken.
    stall = 60.0
    # Between messages: modalities keep an association open while they reconstruct the next image.
    idle = 600.0
    # For the peer to close after a release, rejection or abort; then the box does.
    closing = 0.5


class IntakeSocket(AssociationSocket):
    """A socket that acknowledges at once and is read ahead into one buffer."""

    def __init__(self, association: Association, connection: socket.socket) -> None:
        super().__init__(association, client_socket=connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Linux forgets a quick ACK after a while, hence again after every read.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        connection.settimeout(Timeouts.stall)
        self._buffer = memoryview(bytearray(BUFFER))
        self._start = self._end = 0
        self._secure = False

    def secured(self, connection: Any) -> None:
        """Go on over TLS: `connection` has taken the place of the one there was."""
        self.socket = connection
        connection.settimeout(Timeouts.stall)
        self._secure = True

    @property
    def buffered(self) -> int:
        """Bytes that have been read and not taken."""
        return self._end - self._start

    def recv(self, nr_bytes: int) -> bytearray:
        """Return `nr_bytes`, or fewer when the peer has closed."""
        if nr_bytes > LARGEST_READ:
            raise OSError(f"PDU of {nr_bytes} bytes, agreed were {MAXIMUM_PDU}")
        taken = bytearray()
        while len(taken) < nr_bytes and (piece := self.piece(nr_bytes - len(taken))):
            taken += piece
        return taken

    def piece(self, most: int) -> memoryview:
        """Return what there is, at most so many bytes, and wait for some if there is nothing; empty at the end.

        It is valid until the next is asked for.
        """
        if not self.buffered and most:
            self._fill()
        start, self._start = self._start, min(self._end, self._start + most)
        return self._buffer[start : self._start]

    def peek(self, structure: struct.Struct) -> tuple[Any, ...] | None:
        """Return what comes next as `structure` has it, without taking it; None when the peer has closed before."""
        while self.buffered < structure.size:
            if not self._fill():
                return None
        return structure.unpack_from(self._buffer, self._start)

    def skip(self, count: int) -> None:
        """Take bytes that have been looked at."""
        self._start += count

    def _fill(self) -> int:
        """Read what there is, but something, behind what is in the buffer, and return how much it was.

        DCMTK, and what is built on it, writes header and body of a PDU apart with Nagle's algorithm on: until the
        header is acknowledged the body does not leave it.
        """
        if self.socket is None:
            raise OSError("the connection is closed")
        if self._start:
            rest = self.buffered
            self._buffer[:rest] = self._buffer[self._start : self._end]
            self._start, self._end = 0, rest
        count = self.socket.recv_into(self._buffer[self._end :])
        self._end += count
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return count

    def discard(self) -> int:
        """Read what is there, throw it away and return how much it was."""
        if dropped := self.buffered:
            self._start = self._end = 0
            return dropped
        return 0 if self.socket is None else len(self.socket.recv(1 << 16))

    @property
    def ready(self) -> bool:
        """Whether something can be read."""
        return self.wait(0)

    def wait(self, seconds: float, *others: int) -> bool:
        """Wait until there is something to read, here or from one of the `others`, and tell whether it is here."""
        if self.buffered:
            return True
        descriptor = -1 if self.socket is None else self.socket.fileno()
        if descriptor < 0:
            return False
        poller = select.poll()  # select.select fails from descriptor 1024 on
        for number in (descriptor, *others):
            poller.register(number, select.POLLIN)
        # What OpenSSL has decrypted already, no poll tells.
        if self._secure and self.socket.pending():  # type: ignore[union-attr]
            return True
        here = any(number == descriptor for number, _ in poller.poll(seconds * 1000))
        return here and (not self._secure or self._is_data())

    def _is_data(self) -> bool:
        """Take in what has arrived over TLS; it may be none of ours, or not enough yet to be decrypted."""
        assert self.socket is not None
        try:
            self.socket.settimeout(0)
            try:
                self._fill()
            finally:
                self.socket.settimeout(Timeouts.stall)
        except BlockingIOError:
            return False
        except OSError:
            pass  # who reads on is told
        return True

    def farewell(self) -> None:
        """Say over TLS, too, that nothing follows; only from the thread that reads and writes."""
        if self._secure and self.socket is not None:
            self.socket.farewell()  # type: ignore[attr-defined]

    def _shutdown_socket(self) -> None:
        """Close; pynetdicom's own leaves the descriptor open if the peer was faster."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()
