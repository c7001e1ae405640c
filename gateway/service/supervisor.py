"""Which process runs what; start and stop of the box.

The parent imports everything, binds, brings the data directory in order, and forks; the memory of what it has imported
is shared by all. It then only waits for signals: it has no threads, so that it can fork again, and no connection to the
index.
"""

from __future__ import annotations

import errno
import functools
import gc
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from gateway.archive.files import Files
from gateway.archive.index import Archive
from gateway.archive.jobs import CONVERT, DELIVER
from gateway.errors import NetworkError
from gateway.network.slots import Slots
from gateway.observe import event, warning
from gateway.pipeline.convert import ConversionPolicy
from gateway.pipeline.retry import Backoff
from gateway.service import rooms, sd, worker
from gateway.service.config import Config
from gateway.service.intake import intake
from gateway.service.keeper import Keeper
from gateway.service.lean import without_decoders
from gateway.service.lock import locked
from gateway.service.process import Role

BACKLOG = 64


@dataclass(frozen=True)
class Tuning:
    """What nobody has to configure.

    Attributes
    ----------
    intake_workers : int
        Intake processes; one for each core of the smallest box.
    grace : float
        Seconds that objects in flight have at a stop; the processes get as much again.
    patience : float
        Seconds to wait for address and data directory while a box that was killed goes.
    deliveries, conversions : Backoff
        Delays between attempts.
    """

    intake_workers: int = 2
    grace: float = 10.0
    patience: float = 5.0
    deliveries: Backoff = field(default_factory=Backoff)
    conversions: Backoff = field(default_factory=Backoff)


def run(config: Config, tuning: Tuning | None = None) -> None:
    """Run the box until SIGTERM or SIGINT.

    Parameters
    ----------
    config : Config
        The configuration.
    tuning : Tuning, optional
        For tests.

    Raises
    ------
    ArchiveError
        If the data directory cannot be used, or another box has it.
    NetworkError
        If the address cannot be bound.
    """
    tuning = tuning or Tuning()
    data_dir = Path(config.gateway.data_dir)
    Files(data_dir).prepare()
    with locked(data_dir, tuning.patience):
        listener = listen(config.gateway.bind, config.gateway.port, tuning.patience)
        _put_in_order(config, data_dir)
        slots = Slots(tuning.intake_workers, config.intake.max_associations)
        keeper = Keeper(_roles(config, tuning, listener, slots), grace=2 * tuning.grace)
        # What exists now is never collected: looking at it would only unshare its pages.
        gc.collect()
        gc.freeze()
        keeper.run(functools.partial(_ready, config, listener), functools.partial(_stopping, listener))
        event("stopped")


def listen(host: str, port: int, patience: float) -> socket.socket:
    """Return a listening socket, waiting a little for a predecessor to free the address."""
    deadline = time.monotonic() + patience
    while True:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
                0
            ]
            # "::" is every address, those of IPv4 included.
            both = family == socket.AF_INET6 and address[0] == "::"
            return socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            raise NetworkError(
                f"{host}:{port}",
                "cannot listen there",
                found=error.strerror or str(error),
                remedy="check gateway.bind and gateway.port, and what else listens",
            ) from error


def _put_in_order(config: Config, data_dir: Path) -> None:
    """Migrate the index, and recover what a crash has left."""
    with without_decoders():  # a migration imports sqlite-utils, and that numpy
        archive = Archive(data_dir, quiet=config.intake.study_quiet_seconds)
    archive.recover(rooms.origins(config))
    # A stop or a power cut is no failure of the study that was being worked on.
    archive.jobs.release_running(CONVERT)
    archive.jobs.release_running(DELIVER)
    if held := archive.jobs.match_destinations([to.ae_title for to in config.destination]):
        warning("deliver.not_configured", jobs=held, remedy="name their destinations again; see gateway queue list")
    archive.close()


def _roles(config: Config, tuning: Tuning, listener: socket.socket, slots: Slots) -> list[Role]:
    data_dir = Path(config.gateway.data_dir)
    targets = rooms.targets(config)
    policy = ConversionPolicy(
        destinations=tuple(target.name for target in targets),
        backoff=tuning.conversions,
        recover=rooms.origins(config),
    )

    def convert(stop: worker.Stop) -> None:
        listener.close()
        worker.convert(data_dir, config.intake.study_quiet_seconds, policy, stop)

    def deliver(stop: worker.Stop) -> None:
        listener.close()
        worker.deliver(data_dir, targets, tuning.deliveries, stop, tuning.grace)

    def intake_of(number: int) -> Role:
        died = False  # kept by the parent, seen by what it forks afterwards

        def main(stop: worker.Stop) -> None:
            intake(config, listener, slots, number, stop, grace=tuning.grace, recover=died)

        def on_death() -> None:
            nonlocal died
            died = True
            slots.clear(number)

        return Role("intake", main, on_death=on_death)

    return [
        *(intake_of(number) for number in range(tuning.intake_workers)),
        Role("deliver", deliver),
        Role("convert", convert, niceness=10),
    ]


def _ready(config: Config, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    event("ready", ae_title=config.gateway.ae_title, address=host, port=port)
    sd.notify("READY=1")


def _stopping(listener: socket.socket) -> None:
    sd.notify("STOPPING=1")
    event("stopping")
    listener.close()
