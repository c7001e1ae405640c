"""A storage SCP that does what a script says, rules of the protocol or not: it talks to the socket itself."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from io import BytesIO

from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE

ABORT = b"\7\0\0\0\0\4\0\0\0\0"
RELEASE_REQUEST = b"\5\0\0\0\0\4\0\0\0\0"
RELEASE_RESPONSE = b"\6\0\0\0\0\4\0\0\0\0"


class Closed(Exception):
    """The other side has closed, released or aborted."""


class Talk:
    """One connection, seen from the scripted peer."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.log: list[str] = []
        self.largest = 0
        self.request: A_ASSOCIATE | None = None
        self.stored: list[tuple[Dataset, bytes]] = []

    def pdu(self) -> tuple[int, bytes]:
        head = self._exactly(6)
        kind, length = struct.unpack(">BxL", head)
        self.largest = max(self.largest, length)
        self.log.append({4: "data", 5: "release", 7: "abort"}.get(kind, str(kind)))
        return kind, head + self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                self.log.append("closed")
                raise Closed
            data += piece
        return data

    def accept(
        self, refuse: Callable[[str, str], int] = lambda abstract, transfer: False, maximum: int = 16384
    ) -> None:
        """Accept the association but for the contexts to `refuse`: by a result (PS3.8 table 9-18), True is 3."""
        self.request = self._association_request()
        answer = A_ASSOCIATE()
        answer.application_context_name = self.request.application_context_name
        answer.calling_ae_title = self.request.calling_ae_title
        answer.called_ae_title = self.request.called_ae_title
        answer.result, answer.result_source = 0, 1
        contexts = self.request.presentation_context_definition_list
        for context in contexts:
            refused = refuse(context.abstract_syntax, context.transfer_syntax[0])
            context.result = 3 if refused is True else int(refused)
        answer.presentation_context_definition_results_list = contexts
        answer.user_information = self.request.user_information
        answer.maximum_length_received = maximum
        pdu = A_ASSOCIATE_AC()
        pdu.from_primitive(answer)
        self.socket.sendall(pdu.encode())

    def reject(self, result: int, source: int, diagnostic: int) -> None:
        self._association_request()
        answer = A_ASSOCIATE()
        answer.result, answer.result_source, answer.diagnostic = result, source, diagnostic
        pdu = A_ASSOCIATE_RJ()
        pdu.from_primitive(answer)
        self.socket.sendall(pdu.encode())

    def _association_request(self) -> A_ASSOCIATE:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(self.pdu()[1])
        return pdu.to_primitive()

    def message(self) -> tuple[Dataset, bytes]:
        """Receive a request with its data set."""
        command, data = b"", b""
        while True:
            kind, body = self.pdu()
            if kind == 5:
                self.socket.sendall(RELEASE_RESPONSE)
                raise Closed
            if kind == 7:
                raise Closed
            control, content = body[11], body[12:]
            if control & 1:
                command += content
            else:
                data += content
            if control == 2:
                request = decode(BytesIO(command), True, True)
                self.stored.append((request, data))
                return request, data

    def respond(self, request: Dataset, status: int = 0, comment: str = "", number: int | None = None) -> None:
        answer = Dataset()
        answer.AffectedSOPClassUID = request.AffectedSOPClassUID
        answer.CommandField = 0x8001
        answer.MessageIDBeingRespondedTo = request.MessageID if number is None else number
        answer.CommandDataSetType = 0x0101
        answer.Status = status
        if comment:
            answer.ErrorComment = comment
        answer.CommandGroupLength = len(encode(answer, True, True))
        content = encode(answer, True, True)
        self.socket.sendall(struct.pack(">BxLLBB", 4, len(content) + 6, len(content) + 2, 1, 3) + content)

    def serve(self, *statuses: tuple[int, str]) -> None:
        """Answer one request after the other with these statuses, then with Success, to the end."""
        with contextlib.suppress(Closed):
            for status, comment in statuses:
                self.respond(self.message()[0], status, comment)
            while True:
                self.respond(self.message()[0])


class ScriptedPeer:
    """Listens on a port of the loopback; each connection goes through `script`."""

    def __init__(self, script: Callable[[Talk], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.talks: list[Talk] = []
        self._threads: list[threading.Thread] = []
        self.over = threading.Event()  # for scripts that wait until the test is done

    def __enter__(self) -> ScriptedPeer:
        self._start(self._accept)
        return self

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.talks.append(Talk(connection))
                self._start(self._run, self.talks[-1])

    def _run(self, talk: Talk) -> None:
        with talk.socket, contextlib.suppress(Closed, ConnectionError):
            self._script(talk)

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "the script has not come to its end"

    @property
    def stored(self) -> list[str]:
        return [request.AffectedSOPInstanceUID for talk in self.talks for request, _ in talk.stored]
