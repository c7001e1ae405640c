"""Accepts connections on a socket that is bound already and keeps the associations that come of them."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pydicom.uid import UID
from pynetdicom.ae import ApplicationEntity

from gateway.archive.registrar import Registrar
from gateway.network.acceptor import Acceptor
from gateway.network.negotiation import TRANSFER_SYNTAXES, deliverable
from gateway.network.policy import NetworkSettings
from gateway.network.slots import Slots
from gateway.objects.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.observe import event, warning
from gateway.retrieval.engine import Outbound

if TYPE_CHECKING:
    from gateway.archive.index import Archive
    from gateway.archive.progress import Progress

# Connections that have not asked for an association yet, or are being told that there are too many.
SPARE_CONNECTIONS = 32

# How long a stop may go unnoticed by the accept loop.
TICK = 0.25

# Seconds after which it is looked again what the destinations take.
LEARN = 30.0


class Server:
    """One intake process's share of the associations.

    Parameters
    ----------
    listener : socket.socket or None
        Bound and listening; forks of one parent share it. It stays open.
    settings : NetworkSettings
        Assigning another one changes what the next associations get.
    archive : Archive
        Opened in this process.
    slots : Slots
        The limit on associations, shared with the other processes.
    worker : int
        Which of the counters of `slots` and `progress` are this process's.
    outbound : Outbound
        Establishes the associations of C-MOVE.
    progress : Progress, optional
        How far the processes are with registering what they have acknowledged; needed when there are others.
    secure_listener : socket.socket, optional
        For callers over TLS, if `settings` say what they are served with.
    """

    def __init__(
        self,
        listener: socket.socket | None,
        settings: NetworkSettings,
        archive: Archive,
        *,
        slots: Slots,
        worker: int,
        outbound: Outbound,
        progress: Progress | None = None,
        secure_listener: socket.socket | None = None,
    ) -> None:
        self.settings = settings
        self.archive = archive
        self.slots = slots
        self.worker = worker
        self.outbound = outbound
        self.registrar = Registrar(archive, progress, worker if progress else 0)
        self.ae = ApplicationEntity(settings.ae_title)
        self.ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        self.ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        # Each with whether it is for TLS.
        doors = ((listener, False), (secure_listener, True))
        self._doors = {door.fileno(): (door, secure) for door, secure in doors if door is not None}
        for door, _ in self._doors.values():
            door.setblocking(False)  # another process may be faster to accept what woke this one
        self._deliverable: Collection[str] = ()
        self._learn_again = 0.0
        self._associations: set[Acceptor] = set()
        self._lock = threading.Lock()

    @property
    def associations(self) -> list[Acceptor]:
        """The associations, and the connections that may become some."""
        with self._lock:
            return list(self._associations)

    def run(self, stop: threading.Event, grace: float = 10.0) -> None:
        """Accept connections until `stop` is set, then end all associations and register what they have stored.

        Parameters
        ----------
        stop : threading.Event
            Ends it.
        grace : float
            Seconds that requests on their way have to come to their end.
        """
        self.registrar.start()
        poller = select.poll()
        for number in self._doors:
            poller.register(number, select.POLLIN)
        while not stop.is_set():
            for number, _ in poller.poll(TICK * 1000):
                self._accept(*self._doors[number])
        self._end(grace)
        self.registrar.close(grace)

    def deliverable(self) -> Collection[str]:
        """Return the transfer syntaxes in which what is stored can be handed on; all if it goes nowhere."""
        destinations = self.settings.priors_from
        if not destinations:
            return TRANSFER_SYNTAXES
        now = time.monotonic()
        if now >= self._learn_again:
            self._deliverable = deliverable(self.archive.taken.by_all(destinations))
            self._learn_again = now + LEARN
        return self._deliverable

    def ended(self, association: Acceptor) -> None:
        """Forget an association that has come to its end."""
        with self._lock:
            self._associations.discard(association)

    def _accept(self, door: socket.socket, secure: bool) -> None:
        try:
            connection, address = door.accept()
        except BlockingIOError:
            return
        except OSError as error:
            warning("network.accept_failed", reason=error)
            time.sleep(TICK)  # out of descriptors, most likely; the connection is still waiting
            return
        if len(self.associations) >= self.settings.max_associations + SPARE_CONNECTIONS:
            warning("network.too_many_connections", address=address[0])
            connection.close()
            return
        try:
            self._begin(connection, address, secure)
        except (OSError, RuntimeError) as error:  # the peer has gone already; no more threads
            warning("network.connection_failed", address=address[0], reason=error)
            connection.close()

    def _begin(self, connection: socket.socket, address: Any, secure: bool) -> None:
        if secure and self.settings.tls is None:
            raise RuntimeError("nothing to serve TLS with")
        association = Acceptor(self, connection, address, self.settings.tls if secure else None)
        with self._lock:
            self._associations.add(association)
        try:
            association.start()
        except RuntimeError:
            self.ended(association)
            raise

    def _end(self, grace: float) -> None:
        """Let requests on their way come to their end, up to `grace` seconds, then abort."""
        event("network.stopping", associations=len(self.associations))
        deadline = time.monotonic() + grace
        for association in self.associations:
            association.stop()
        for association in self.associations:
            association.join(max(0.0, deadline - time.monotonic()))
        for association in self.associations:
            association.acse.send_abort(0x00)
        for association in self.associations:
            association.join(Acceptor.LONGEST_END)


def serve(
    listener: socket.socket | None,
    settings: NetworkSettings,
    archive: Archive,
    *,
    slots: Slots,
    worker: int,
    outbound: Outbound,
    stop: threading.Event,
    grace: float = 10.0,
    progress: Progress | None = None,
    secure_listener: socket.socket | None = None,
) -> None:
    """Run a `Server` until `stop` is set; see there."""
    server = Server(
        listener,
        settings,
        archive,
        slots=slots,
        worker=worker,
        outbound=outbound,
        progress=progress,
        secure_listener=secure_listener,
    )
    server.run(stop, grace)
