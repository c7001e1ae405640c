"""One association requested by the gateway: PDUs over a socket, in the thread of its user (PS3.8 section 9).

pynetdicom encodes and decodes what is exchanged. Its reactors are not used: a requestor that waits for every answer
needs no threads, and without them there is nothing to poll, nothing to leak, every wait has its limit and every end
its reason. The socket does not block, so that an abort of the peer is noticed while a large object is being sent.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import Any

from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dsutils import encode
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RP, A_RELEASE_RQ
from pynetdicom.pdu import P_DATA_TF as P_DATA_PDU
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from gateway.errors import BrokenOff, NetworkError, Unanswered
from gateway.network.associate_pdus import SHORTEST_LENGTH, read_answer
from gateway.network.commands import DATA_SET, NO_DATA_SET
from gateway.network.pdus import LARGEST_RECEIVED, associate_request, fragments, rejected
from gateway.objects.stream import Outgoing, every_byte
from gateway.retrieval.engine import Destination

_PDUS = {
    1: A_ASSOCIATE_RQ,
    2: A_ASSOCIATE_AC,
    3: A_ASSOCIATE_RJ,
    4: P_DATA_PDU,
    5: A_RELEASE_RQ,
    6: A_RELEASE_RP,
    7: A_ABORT_RQ,
}


@dataclass(frozen=True)
class Timeouts:
    """How many seconds each wait may take.

    Attributes
    ----------
    connect
        TCP and TLS; a host that is there answers in milliseconds, one behind a slow line in a few seconds.
    negotiate
        Answer to A-ASSOCIATE-RQ; some peers start a process for each association.
    progress
        While sending, without a single byte being taken; a peer writing to a tape pauses, a dead one stays silent.
    response
        Answer to a request; a peer may have to write and index 2 GiB before it can say Success.
    release
        Answer to A-RELEASE-RQ; everything is said by then, so there is little to lose.
    """

    connect: float = 10
    negotiate: float = 30
    progress: float = 60
    response: float = 300
    release: float = 5


# What the operating system says, in plain words, and what to do about it.
_CONNECT_PROBLEMS: tuple[tuple[type[OSError], str, str], ...] = (
    (ConnectionRefusedError, "connection refused", "nothing listens there: check the port and whether the peer runs"),
    (socket.gaierror, "host name not known", "check the host name and the name service"),
    (ConnectionResetError, "connection lost", "the peer, or a firewall, closed it at once"),
)


class Requestor:
    """An established association.

    Parameters
    ----------
    destination : Destination
        The peer and our AE title.
    proposals : sequence of (str, str)
        Abstract and transfer syntax of each presentation context, 128 at most.
    timeouts : Timeouts
        Limits of all waits.
    watch : callable, optional
        Called about once a second during any wait; what it raises comes through.
    roles : mapping
        Roles to propose for a SOP class, SCU and SCP; without, the requestor is SCU (PS3.7 D.3.3.4).
    most_waiting : int
        Messages that the peer may send before they are asked for; more of them end the association.

    Raises
    ------
    NetworkError
        With the reason in plain words as its `problem`.

    Attributes
    ----------
    contexts : dict
        Presentation context ID of each accepted (abstract syntax, transfer syntax).
    results : dict
        What the peer said to each proposed (abstract syntax, transfer syntax) (PS3.8 table 9-18).
    roles : dict
        What the peer answered to the roles proposed, by SOP class; one it said nothing about is missing.
    maximum_length : int
        Largest PDU body the peer takes, 0 for no limit.
    """

    def __init__(
        self,
        destination: Destination,
        proposals: Sequence[tuple[str, str]],
        timeouts: Timeouts = Timeouts(),
        watch: Callable[[], None] | None = None,
        roles: Mapping[str, tuple[bool, bool]] = MappingProxyType({}),
        most_waiting: int = 1,
    ) -> None:
        self.destination = destination
        self.timeouts = timeouts
        self.contexts: dict[tuple[str, str], int] = {}
        self.results: dict[tuple[str, str], int] = {}
        self.roles: dict[str, tuple[bool, bool]] = {}
        self.maximum_length = 0
        self._watch = watch
        self._most_waiting = most_waiting
        self._watched = time.monotonic()
        self._received = bytearray()
        self._messages: deque[DIMSEMessage] = deque()
        self._message: DIMSEMessage | None = None
        self._between_pdus = True
        self._lost: Exception | None = None
        self._secure = destination.tls is not None
        self._socket = self._connect()
        try:
            self._negotiate(proposals, roles)
        except BaseException:
            self.abort()
            raise

    # -- the life of an association

    def _negotiate(self, proposals: Sequence[tuple[str, str]], roles: Mapping[str, tuple[bool, bool]]) -> None:
        self._write(memoryview(associate_request(self.destination, proposals, roles)))
        answer = self._read(self.timeouts.negotiate, "no answer to the association request within {} s")
        if isinstance(answer, A_ASSOCIATE_RJ):
            self.close()
            raise rejected(self.destination, answer)
        if not isinstance(answer, A_ASSOCIATE_AC):
            raise self._error(f"unexpected answer to the association request: {type(answer).__name__}")
        accepted = answer.to_primitive()
        self.maximum_length = accepted.maximum_length_received or 0
        if 0 < self.maximum_length < SHORTEST_LENGTH:
            problem = f"takes PDUs of {self.maximum_length} bytes at most, into which no data fit"
            raise self._error(problem, "set its maximum PDU length to 16384 or more")
        proposed = {2 * number + 1: pair for number, pair in enumerate(proposals)}
        for context in accepted.presentation_context_definition_results_list:
            number = context.context_id
            if number in proposed:
                self.results[proposed[number]] = context.result or 0
            # What is "accepted" in another transfer syntax than the one proposed has not been agreed on.
            if context.result == 0 and number in proposed and proposed[number][1] in context.transfer_syntax:
                self.contexts[proposed[number]] = number
        for item in accepted.user_information:
            if isinstance(item, SCP_SCU_RoleSelectionNegotiation):
                self.roles[str(item.sop_class_uid)] = bool(item.scu_role), bool(item.scp_role)

    def release(self) -> None:
        """End the association in order, or after the time limit without the peer; never raises."""
        if self._socket.fileno() < 0:
            return
        self._watch = None
        with contextlib.suppress(NetworkError):
            self._write(memoryview(A_RELEASE_RQ().encode()))
            self._read(self.timeouts.release, "no answer to the release within {} s")
        self.close()

    def abort(self) -> None:
        """End the association at once; never raises."""
        if self._between_pdus and self._socket.fileno() >= 0:
            pdu = A_ABORT_RQ()
            pdu.source, pdu.reason_diagnostic = 0, 0
            with contextlib.suppress(OSError):
                self._socket.send(pdu.encode())
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._secure and self._between_pdus:
            self._socket.farewell()  # type: ignore[attr-defined]
        self._socket.close()

    # -- messages

    def send(self, context_id: int, message: DIMSEMessage | bytes, source: Outgoing | None = None) -> None:
        """Send a DIMSE message, or what is its encoded command set, and its data set, if any, from `source`.

        Raises
        ------
        NetworkError
            If the association is gone, or nothing is taken within the time limit.
        ObjectError
            If `source` gives none, or more or fewer bytes than it announced; the association is of no use then.
        """
        if isinstance(message, bytes):
            command = message
        else:
            message.command_set.CommandDataSetType = NO_DATA_SET if source is None else DATA_SET
            command = encode(message.command_set, True, True) or b""
        for written in fragments(context_id, (command,), self.maximum_length, command=True):
            self._write(written)
        if source is not None:
            for written in fragments(context_id, every_byte(source), self.maximum_length):
                self._write(written)

    def receive(self) -> DIMSEMessage:
        """Return the next message of the peer, in the waiting time for responses."""
        while not self._messages:
            self._arrived(self._read(self.timeouts.response, "no response within {} s", Unanswered))
        return self._messages.popleft()

    def wait(self, seconds: float) -> DIMSEMessage | None:
        """Return the next message of the peer, None if none has come within `seconds`."""
        deadline = time.monotonic() + seconds
        while not self._messages:
            if (pdu := self._next()) is not None:
                self._arrived(pdu)
            elif self._lost is not None:
                raise self._gone("connection lost") from self._lost
            elif (left := deadline - time.monotonic()) <= 0:
                return None
            else:
                self._step(patience=min(1.0, left))
        return self._messages.popleft()

    def _arrived(self, pdu: Any) -> None:
        if not isinstance(pdu, P_DATA_PDU):
            raise self._error(f"unexpected {type(pdu).__name__}")
        self._take(pdu)

    def _take(self, pdu: P_DATA_PDU) -> None:
        self._message = self._message or DIMSEMessage()
        try:
            complete = self._message.decode_msg(pdu.to_primitive())
        except Exception as error:  # whatever pydicom and pynetdicom make of arbitrary bytes
            raise self._error(f"response cannot be understood: {error}") from error
        held = self._message.encoded_command_set.tell() + (self._message.data_set or BytesIO()).tell()
        if held > LARGEST_RECEIVED or (complete and len(self._messages) >= self._most_waiting):
            raise self._error("peer says more than it was asked")
        if complete:
            self._messages.append(self._message)
            self._message = None

    # -- PDUs

    def _write(self, data: memoryview) -> None:
        """Write all of `data`, whole PDUs, while taking in what the peer says meanwhile."""
        limit = self.timeouts.progress
        deadline = time.monotonic() + limit
        self._between_pdus = False
        while data:
            sent = self._step(data)
            data = data[sent:]
            if sent:
                deadline = time.monotonic() + limit
            elif time.monotonic() > deadline:
                raise self._error(f"no progress within {limit:g} s while sending")
            # A response may come before its request is complete; it waits for its turn. An abort raises here.
            while isinstance(pdu := self._next(), P_DATA_PDU):
                self._take(pdu)
            if self._lost is not None:
                raise self._gone("connection lost while sending") from self._lost
        self._between_pdus = True

    def _read(self, limit: float, problem: str, error: type[NetworkError] = NetworkError) -> Any:
        """Return the next PDU, or raise `error` with `problem` after `limit` seconds."""
        deadline = time.monotonic() + limit
        while (pdu := self._next()) is None:
            if self._lost is not None:
                raise self._gone("connection lost while waiting for an answer") from self._lost
            if time.monotonic() > deadline:
                raise error(str(self.destination), problem.format(f"{limit:g}"))
            self._step()
        return pdu

    def _next(self) -> Any:
        """Decode the first complete PDU received, None if there is none."""
        if len(self._received) < 6:
            return None
        kind, length = struct.unpack_from(">BxL", self._received)
        if kind not in _PDUS or length > LARGEST_RECEIVED:
            raise self._error("peer does not speak DICOM", "check the port")
        if len(self._received) < 6 + length:
            return None
        pdu = _PDUS[kind]()
        try:
            data = bytes(self._received[: 6 + length])
            pdu.decode(read_answer(data) if kind == 2 else data)
        except Exception as error:  # whatever pynetdicom makes of arbitrary bytes
            raise self._error(f"peer sent a PDU that cannot be understood: {error}") from error
        del self._received[: 6 + length]
        if isinstance(pdu, A_ABORT_RQ):
            self.close()
            raise BrokenOff(str(self.destination), "association aborted")
        if isinstance(pdu, A_RELEASE_RQ):
            with contextlib.suppress(OSError):
                self._socket.send(A_RELEASE_RP().encode())
            self.close()
            raise BrokenOff(str(self.destination), "association released by the peer")
        return pdu

    # -- the socket

    def _step(self, data: memoryview | None = None, patience: float = 1.0) -> int:
        """Wait a little until the socket can be used, receive, and return how much of `data` was sent."""
        if self._watch is not None and time.monotonic() - self._watched >= 1:
            self._watched = time.monotonic()
            self._watch()
        poller = select.poll()
        poller.register(self._socket, select.POLLIN | (select.POLLOUT if data is not None else 0))
        # What OpenSSL holds already, no poll tells.
        held = self._secure and self._socket.pending()  # type: ignore[attr-defined]
        ready = poller.poll(0 if held else patience * 1000)
        if not ready and not held:
            return 0
        try:
            if held or ready[0][1] & ~select.POLLOUT:
                with contextlib.suppress(BlockingIOError):
                    self._receive()
            return self._socket.send(data) if data is not None and self._lost is None else 0
        except BlockingIOError:
            return 0
        except OSError as error:
            self._lost = error
            return 0

    def _receive(self) -> None:
        """Take in what has arrived, until there is no more for now."""
        while len(self._received) <= 2 * LARGEST_RECEIVED:
            piece = self._socket.recv(1 << 16)
            if not piece:
                self._lost = EOFError("closed by the peer")
                return
            self._received += piece
            if hasattr(socket, "TCP_QUICKACK"):
                # A peer that writes header and body of a PDU apart waits for our ACK in between; Linux forgets
                # the option with time.
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _connect(self) -> socket.socket:
        limit = self.timeouts.connect
        deadline = time.monotonic() + limit
        target = self.destination
        problem: OSError = OSError("no address")
        try:
            addresses = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except OSError as error:
            addresses, problem = [], error
        for family, kind, protocol, _, address in addresses:
            connection = socket.socket(family, kind, protocol)
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._establish(connection, address, deadline)
                if target.tls is not None:
                    from gateway.network import secure

                    return secure.connect(connection, target, max(0.1, deadline - time.monotonic()), self._watch)
                return connection
            except OSError as error:
                connection.close()
                problem = error
            except BaseException:
                connection.close()
                raise
        for cause, words, remedy in _CONNECT_PROBLEMS:
            if isinstance(problem, cause):
                raise self._error(words, remedy) from problem
        if isinstance(problem, TimeoutError):
            raise self._error(f"no answer within {limit:g} s", "check host, port and firewall") from problem
        raise self._error(f"cannot connect: {problem.strerror or problem}") from problem

    def _establish(self, connection: socket.socket, address: Any, deadline: float) -> None:
        """Connect, calling the watch meanwhile."""
        connection.setblocking(False)
        try:
            connection.connect(address)
            return
        except BlockingIOError:
            pass
        poller = select.poll()
        poller.register(connection, select.POLLOUT)
        while not poller.poll(max(0, min(1.0, deadline - time.monotonic())) * 1000):
            if time.monotonic() > deadline:
                raise TimeoutError
            if self._watch is not None:
                self._watch()
        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))  # becomes ConnectionRefusedError and the like

    def _gone(self, problem: str) -> NetworkError:
        """Return the error of a connection that is lost, with what the peer has said at the end."""
        if self._secure:
            from gateway.network import secure

            return self._error(*(secure.alert(self._lost) or (problem, None)))
        return self._error(problem)

    def _error(self, problem: str, remedy: str | None = None) -> NetworkError:
        return NetworkError(str(self.destination), problem, remedy=remedy)
