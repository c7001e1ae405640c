"""A requestor that does what a test says, rules of the protocol or not: it talks to the socket itself."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydicom.uid import UID
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"

ABORT = b"\7\0\0\0\0\4\0\0\0\0"
RELEASE_REQUEST = b"\5\0\0\0\0\4\0\0\0\0"
C_STORE_RQ, C_MOVE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0021, 0x0030, 0x0FFF

# Tags of the command set and how their values are encoded (PS3.7 annex E).
_COMMAND: dict[str, tuple[int, str]] = {
    "class": (0x0002, "UI"),
    "field": (0x0100, "US"),
    "id": (0x0110, "US"),
    "answered": (0x0120, "US"),
    "destination": (0x0600, "AE"),
    "priority": (0x0700, "US"),
    "data": (0x0800, "US"),
    "status": (0x0900, "US"),
    "comment": (0x0902, "LO"),
    "instance": (0x1000, "UI"),
}
_NAMES = {number: (name, vr) for name, (number, vr) in _COMMAND.items()}


def command(**values: int | str) -> bytes:
    """Encode a command set, implicit VR little endian."""
    body = b""
    for name, value in sorted(values.items(), key=lambda item: _COMMAND[item[0]]):
        number, _ = _COMMAND[name]
        if isinstance(value, int):
            encoded = struct.pack("<H", value)
        else:
            encoded = value.encode()
            encoded += b"\0" * (len(encoded) % 2)
        body += struct.pack("<HHI", 0, number, len(encoded)) + encoded
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def decoded(body: bytes) -> dict[str, Any]:
    """Decode a command set."""
    values: dict[str, Any] = {}
    while body:
        _, number, length = struct.unpack_from("<HHI", body)
        name, vr = _NAMES.get(number, (f"{number:04X}", ""))
        value = body[8 : 8 + length]
        values[name] = struct.unpack("<H", value)[0] if vr == "US" else value.rstrip(b"\0 ").decode("latin-1")
        body = body[8 + length :]
    return values


def fragment(context_id: int, data: bytes, *, is_command: bool = False, last: bool = True) -> bytes:
    """Encode one presentation data value item (PS3.8 table 9-23 and annex E)."""
    return struct.pack(">LBB", len(data) + 2, context_id, is_command | last << 1) + data


def data_pdu(*fragments: bytes) -> bytes:
    """Encode a P-DATA-TF PDU."""
    body = b"".join(fragments)
    return struct.pack(">BxL", 4, len(body)) + body


class Caller:
    """One connection to an acceptor."""

    def __init__(self, port: int, timeout: float = 60) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.message_id = 0
        self.results: dict[int, tuple[int, str]] = {}
        self.answer: A_ASSOCIATE | None = None

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def associate(
        self,
        contexts: Mapping[str, Sequence[str]] | Iterable[tuple[str, Sequence[str]]] = ((CT, (EXPLICIT,)),),
        calling: str = "CT1",
        called: str = "GATEWAY",
        items: Sequence[Any] = (),
    ) -> tuple[int, int, int] | None:
        """Request an association; return result, source and diagnostic if it is rejected."""
        self.send(request_pdu(contexts, calling, called, items))
        kind, data = self.pdu()
        if kind == 3:
            rejection = A_ASSOCIATE_RJ()
            rejection.decode(data)
            return rejection.result, rejection.source, rejection.reason_diagnostic
        assert kind == 2, f"PDU of type {kind}"
        accepted = A_ASSOCIATE_AC()
        accepted.decode(data)
        self.answer = accepted.to_primitive()
        for context in self.answer.presentation_context_definition_results_list:
            self.results[context.context_id] = context.result, str(context.transfer_syntax[0])
        return None

    def store_command(self, sop_class: str, sop_instance: str, context_id: int = 1, data: int = 1) -> bytes:
        """Return the PDU of a C-STORE request's command set."""
        self.message_id += 1
        body = command(
            field=C_STORE_RQ, id=self.message_id, priority=0, data=data, **{"class": sop_class}, instance=sop_instance
        )
        return data_pdu(fragment(context_id, body, is_command=True))

    def store(
        self, data: bytes, sop_class: str, sop_instance: str, *, context_id: int = 1, piece: int = 16000
    ) -> dict[str, Any]:
        """Send an object, whatever its bytes are, and return the response."""
        self.send(self.store_command(sop_class, sop_instance, context_id))
        for start in range(0, max(1, len(data)), piece):
            self.send(data_pdu(fragment(context_id, data[start : start + piece], last=start + piece >= len(data))))
        return self.response()

    def echo(self, context_id: int = 1) -> dict[str, Any]:
        self.message_id += 1
        body = command(field=C_ECHO_RQ, id=self.message_id, data=0x0101, **{"class": VERIFICATION})
        self.send(data_pdu(fragment(context_id, body, is_command=True)))
        return self.response()

    def response(self) -> dict[str, Any]:
        """Return the command set of the next message, which must have no data set."""
        body = b""
        while True:
            kind, data = self.pdu()
            assert kind == 4, f"PDU of type {kind} in place of a response"
            length, _, control = struct.unpack_from(">LBB", data, 6)
            assert len(data) == 10 + length
            body += data[12:]
            if control & 2:
                return decoded(body)

    def pdu(self) -> tuple[int, bytes]:
        """Return type and bytes of the next PDU; type 0 when the connection is closed."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, head
        kind, length = struct.unpack(">BxL", head)
        return kind, head + self._exactly(length)

    def release(self) -> None:
        self.send(RELEASE_REQUEST)
        assert self.pdu()[0] == 6
        self.socket.close()

    def reset(self) -> None:
        """Break the connection off so that the other side gets an error, not an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except ConnectionResetError:
                return data
            if not piece:
                return data
            data += piece
        return data


def request_pdu(
    contexts: Mapping[str, Sequence[str]] | Iterable[tuple[str, Sequence[str]]],
    calling: str = "CT1",
    called: str = "GATEWAY",
    items: Sequence[Any] = (),
) -> bytes:
    """Encode an A-ASSOCIATE-RQ PDU; the contexts get the IDs 1, 3, 5..."""
    length = MaximumLengthNotification()
    length.maximum_length_received = 16384
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID("1.2.3.4")
    proposed = []
    for number, (abstract, syntaxes) in enumerate(contexts.items() if isinstance(contexts, Mapping) else contexts):
        context = build_context(abstract, list(syntaxes))
        context.context_id = 2 * number + 1
        proposed.append(context)
    request = A_ASSOCIATE()
    request.application_context_name = UID("1.2.840.10008.3.1.1.1")
    request.calling_ae_title = calling
    request.called_ae_title = called
    request.presentation_context_definition_list = proposed
    request.user_information = [length, implementation, *items]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return pdu.encode()
