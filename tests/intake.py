"""An intake on a loopback port, with the archive that is behind it, for the tests of this room."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydicom.data import get_testdata_file
from scripted_caller import CT, Caller, data_pdu, fragment

from gateway.archive.index import Archive
from gateway.archive.rows import InstanceRow
from gateway.archive.views import View
from gateway.network import server
from gateway.network.intake_socket import MAXIMUM_PDU
from gateway.network.policy import NetworkSettings, Peer
from gateway.network.sender import Sender
from gateway.network.server import Server
from gateway.network.slots import Slots
from gateway.objects.part10 import Header, read_header

CT1 = Peer("CT1")

# A stop is to be noticed at once: there are many of them here.
server.TICK = 0.01


class Intake:
    """A running server and what it stores."""

    def __init__(
        self,
        folder: Path,
        listener: socket.socket,
        settings: NetworkSettings,
        grace: float,
        secure: socket.socket | None = None,
    ) -> None:
        self.folder = folder
        self.port: int = listener.getsockname()[1]
        self.archive = Archive(folder)
        self.slots = Slots(1, settings.max_associations)
        self.tls_port: int = secure.getsockname()[1] if secure else 0
        self.server = Server(
            listener, settings, self.archive, slots=self.slots, worker=0, outbound=Sender(), secure_listener=secure
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: self.server.run(self._stop, grace))
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        self._stop.set()
        if wait:
            self._thread.join()

    def rows(self) -> list[InstanceRow]:
        """Everything the index knows, once it knows all that was acknowledged."""
        assert self.server.registrar.visible()
        return self.archive.select(View.RECEIVED)

    def files(self) -> list[Path]:
        """Every file that holds an object or a part of one, copies that were found to be such not among them."""
        assert self.server.registrar.visible()
        folders = (self.archive.files.intake, self.archive.files.received, self.archive.files.quarantine)
        return [path for folder in folders for path in folder.rglob("*") if path.is_file()]

    def stored_bytes(self) -> bytes:
        """The data set of the only object there is."""
        (path,) = self.files()
        return path.read_bytes()[read_header(path).dataset_offset :]

    def is_empty(self) -> bool:
        return not self.files() and not self.rows()


@contextlib.contextmanager
def running(
    folder: Path,
    listener: socket.socket | None = None,
    *,
    secure: socket.socket | None = None,
    grace: float = 5,
    **settings: Any,
) -> Iterator[Intake]:
    """Run an intake until the block ends; with `tls` among the settings it has a port for that, too."""
    settings.setdefault("peers", (CT1,))
    with contextlib.ExitStack() as stack:
        bound = stack.enter_context(listener or socket.create_server(("127.0.0.1", 0), backlog=64))
        if "tls" in settings:
            secure = stack.enter_context(secure or socket.create_server(("127.0.0.1", 0), backlog=64))
        intake = Intake(folder, bound, NetworkSettings("GATEWAY", **settings), grace, secure)
        try:
            yield intake
        finally:
            intake.stop()
            intake.archive.close()
            intake.slots.close()


def sample(name: str = "CT_small.dcm") -> tuple[Header, bytes]:
    """A file that comes with pydicom: its header and its data set."""
    header = read_header(Path(get_testdata_file(name)))
    return header, header.path.read_bytes()[header.dataset_offset :]


@contextlib.contextmanager
def growing(
    run: Callable[[socket.socket], contextlib.AbstractContextManager[Intake]],
) -> Iterator[tuple[int, list[int]]]:
    """An intake in a process of its own, run at a socket: its port, and at the end by how many kB it has grown."""
    reader, writer = os.pipe()
    grown: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pid = os.fork()
        if not pid:
            os.close(reader)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            with run(listener):
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                signal.sigwait([signal.SIGTERM])
                os.write(writer, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before).encode())
            os._exit(0)
        os.close(writer)
        try:
            yield listener.getsockname()[1], grown
        finally:
            os.kill(pid, signal.SIGTERM)
            grown.append(int(os.read(reader, 20) or 0))
            os.waitpid(pid, 0)
            os.close(reader)


def send_long(caller: Caller, size: int) -> None:
    """Store the sample with pixel data of so many bytes over an association."""
    header, data = sample()
    pixels = data.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"))
    head = data[:pixels] + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, size)
    caller.send(caller.store_command(CT, header.sop_instance))
    caller.send(data_pdu(fragment(1, head, last=False)))
    piece = data_pdu(fragment(1, bytes(MAXIMUM_PDU - 6), last=False))
    whole, rest = divmod(size, MAXIMUM_PDU - 6)
    for _ in range(whole):
        caller.send(piece)
    caller.send(data_pdu(fragment(1, bytes(rest))))
    assert caller.response()["status"] == 0
