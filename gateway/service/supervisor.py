"""Which process runs what; start and stop of the box.

The parent imports everything, binds, brings the data directory in order, and forks; the memory of what it has imported
is shared by all. It then only waits for signals: it has no threads, so that it can fork again, and no connection to the
index. SIGHUP has the configuration read again; the address stays open meanwhile, callers wait.
"""

from __future__ import annotations

import errno
import functools
import gc
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gateway.archive.files import Files
from gateway.archive.index import Archive
from gateway.archive.jobs import COMMIT, CONVERT, DELIVER
from gateway.archive.progress import Progress
from gateway.errors import ConfigError, NetworkError
from gateway.network.slots import Slots
from gateway.observe import event, warning
from gateway.pipeline.convert import ConversionPolicy
from gateway.pipeline.retry import Backoff
from gateway.service import rooms, sd, worker
from gateway.service.config import Config
from gateway.service.heap import fill_holes
from gateway.service.intake import intake
from gateway.service.keeper import Keeper
from gateway.service.lean import without_decoders
from gateway.service.liveness import Pulse, Watched
from gateway.service.lock import locked
from gateway.service.process import Role, Stop

BACKLOG = 64

# Keys of [gateway] that a reload cannot change: the address is bound, the data directory is locked.
FIXED = ("bind", "port", "data_dir")


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
    deliveries : Pace
        Delays at the destinations.
    conversions : Backoff
        Delay between attempts.
    accepting, converting, delivering : float
        Seconds without a sign of life after which a worker is taken for stuck. A conversion gives one for each study,
        and one of 10,000 slices takes minutes on a small board.
    """

    intake_workers: int = 2
    grace: float = 10.0
    patience: float = 5.0
    deliveries: worker.Pace = field(default_factory=worker.Pace)
    conversions: Backoff = field(default_factory=Backoff)
    accepting: float = 60.0
    converting: float = 900.0
    delivering: float = 300.0


def run(config: Config, tuning: Tuning | None = None, read: Callable[[], Config] | None = None) -> None:
    """Run the box until SIGTERM or SIGINT.

    Parameters
    ----------
    config : Config
        The configuration.
    tuning : Tuning, optional
        For tests.
    read : callable, optional
        Reads the configuration again at SIGHUP.

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
        keeper = Keeper(_roles(config, tuning, listener), grace=2 * tuning.grace)
        # What exists now is never collected: looking at it would only unshare its pages.
        gc.collect()
        fill_holes()
        gc.freeze()
        reloader = _Reloader(config, tuning, listener, read)
        keeper.run(reloader.ready, functools.partial(_stopping, listener), reloader.reload)
        event("stopped")


class _Reloader:
    """What the box is run with, and how that changes."""

    def __init__(
        self, config: Config, tuning: Tuning, listener: socket.socket, read: Callable[[], Config] | None
    ) -> None:
        self._config = config
        self._tuning = tuning
        self._listener = listener
        self._read = read

    def ready(self) -> None:
        _ready(self._config, self._listener)

    def reload(self) -> Callable[[], list[Role]] | None:
        """Read the configuration; None if it cannot take the place of the present one, which then stays."""
        if self._read is None:
            return None
        try:
            fresh = self._read()
        except ConfigError as error:
            event("reload.refused", logging.ERROR, reason=error)
            return None
        fixed = [key for key in FIXED if getattr(fresh.gateway, key) != getattr(self._config.gateway, key)]
        if fixed:
            keys = ", ".join(f"gateway.{key}" for key in fixed)
            event("reload.refused", logging.ERROR, reason=f"{keys} changed; restart the gateway for that")
            return None
        event("reloading")
        self._config = fresh
        return self._roles

    def _roles(self) -> list[Role]:
        _put_in_order(self._config, self._config.data_dir)
        return _roles(self._config, self._tuning, self._listener)


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
    archive.jobs.release_running(COMMIT)
    archive.promises.release()
    if held := archive.jobs.match_destinations([to.ae_title for to in config.destination]):
        warning("deliver.not_configured", jobs=held, remedy="name their destinations again; see gateway queue list")
    archive.close()


def _roles(config: Config, tuning: Tuning, listener: socket.socket) -> list[Role]:
    data_dir = config.data_dir
    targets = rooms.targets(config)
    slots = Slots(tuning.intake_workers, config.intake.max_associations)
    progress = Progress(tuning.intake_workers)
    promises = rooms.promises(config, tuning.deliveries.attempts)
    policy = ConversionPolicy(
        destinations=tuple(target.name for target in targets),
        backoff=tuning.conversions,
        recover=rooms.origins(config),
    )
    converting = Pulse("convert", tuning.converting)
    works = {errand: Pulse(errand.name, tuning.delivering) for errand in worker.errands(targets)}
    committing = tuple(Pulse(one.name, tuning.delivering) for one in worker.PROMISERS)

    def convert(stop: Stop) -> None:
        listener.close()
        worker.convert(data_dir, config.intake.study_quiet_seconds, policy, Watched(stop, converting))

    def deliver(stop: Stop) -> None:
        listener.close()
        worker.deliver(data_dir, works, tuning.deliveries, promises, committing, stop, tuning.grace)

    def intake_of(number: int) -> Role:
        died = False  # kept by the parent, seen by what it forks afterwards
        accepting = Pulse(f"intake {number + 1}", tuning.accepting)

        def main(stop: Stop) -> None:
            watched = Watched(stop, accepting)
            intake(config, listener, slots, progress, number, watched, grace=tuning.grace, recover=died)

        def on_death() -> None:
            nonlocal died
            died = True
            slots.clear(number)

        return Role("intake", main, on_death=on_death, pulses=(accepting,))

    return [
        *(intake_of(number) for number in range(tuning.intake_workers)),
        Role("deliver", deliver, pulses=(*works.values(), *committing)),
        Role("convert", convert, niceness=10, pulses=(converting,)),
    ]


def _ready(config: Config, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    event("ready", ae_title=config.gateway.ae_title, address=host, port=port)
    sd.notify("READY=1")


def _stopping(listener: socket.socket) -> None:
    sd.notify("STOPPING=1")
    event("stopping")
    listener.close()
