"""Which process runs what; start and stop of the box.

The parent imports everything, binds, brings the data directory in order, and forks; the memory of what it has imported
is shared by all. It then only waits for signals: it has no threads, so that it can fork again, and no connection to the
index. SIGHUP has the configuration read again; the address stays open meanwhile, callers wait.
"""

from __future__ import annotations

import functools
import gc
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.archive.files import Files
from gateway.archive.index import Archive
from gateway.archive.jobs import COMMIT, CONVERT, DELIVER
from gateway.archive.progress import Progress
from gateway.conversion.identity import Identity
from gateway.errors import GatewayError
from gateway.network.slots import Slots
from gateway.observe import event, warning
from gateway.pipeline.convert import ConversionPolicy
from gateway.pipeline.retry import Backoff
from gateway.service import rooms, sd, worker
from gateway.service.config import Config
from gateway.service.doors import Doors
from gateway.service.heap import fill_holes
from gateway.service.intake import intake
from gateway.service.keeper import Keeper
from gateway.service.lean import without_decoders
from gateway.service.liveness import Pulse, Watched
from gateway.service.lock import locked
from gateway.service.process import Role, Stop

# Keys that a reload cannot change, by table: the addresses are bound, the data directory is locked.
FIXED = {"gateway": ("bind", "port", "data_dir"), "tls": ("port", "plain")}


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
        If an address cannot be bound, or what TLS needs cannot be read.
    """
    tuning = tuning or Tuning()
    data_dir = Path(config.gateway.data_dir)
    Files(data_dir).prepare()
    with locked(data_dir, tuning.patience):
        if (security := rooms.security(config)) is not None:
            security.renew()
        doors = Doors.open(config, tuning.patience)
        _put_in_order(config, data_dir)
        keeper = Keeper(_roles(config, tuning, doors), grace=2 * tuning.grace)
        # What exists now is never collected: looking at it would only unshare its pages.
        gc.collect()
        fill_holes()
        gc.freeze()
        reloader = _Reloader(config, tuning, doors, read)
        keeper.run(reloader.ready, functools.partial(_stopping, doors), reloader.reload)
        event("stopped")


class _Reloader:
    """What the box is run with, and how that changes."""

    def __init__(self, config: Config, tuning: Tuning, doors: Doors, read: Callable[[], Config] | None) -> None:
        self._config = config
        self._tuning = tuning
        self._doors = doors
        self._read = read

    def ready(self) -> None:
        _ready(self._config, self._doors)

    def reload(self) -> Callable[[], list[Role]] | None:
        """Read the configuration; None if it cannot take the place of the present one, which then stays."""
        if self._read is None:
            return None
        try:
            fresh = self._read()
            if fixed := ", ".join(_fixed(self._config, fresh)):
                event("reload.refused", logging.ERROR, reason=f"{fixed} changed; restart the gateway for that")
                return None
            if (security := rooms.security(fresh)) is not None:
                security.renew()
                if fresh == self._config:
                    # The next connections have the certificate of now; those there are go on.
                    event("tls.renewed", certificate=security.identity.certificate)
                    return None
        except GatewayError as error:
            event("reload.refused", logging.ERROR, reason=error)
            return None
        event("reloading")
        self._config = fresh
        return self._roles

    def _roles(self) -> list[Role]:
        _put_in_order(self._config, self._config.data_dir)
        return _roles(self._config, self._tuning, self._doors)


def _fixed(before: Config, after: Config) -> Iterator[str]:
    """Yield the keys that a reload cannot change, and would have to."""
    for table, keys in FIXED.items():
        for key in keys:
            if getattr(getattr(before, table), key) != getattr(getattr(after, table), key):
                yield f"{table}.{key}"
    if (before.tls.certificate is None) != (after.tls.certificate is None):
        yield "tls.certificate"


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


def _roles(config: Config, tuning: Tuning, doors: Doors) -> list[Role]:
    data_dir = config.data_dir
    targets = rooms.targets(config)
    slots = Slots(tuning.intake_workers, config.intake.max_associations)
    progress = Progress(tuning.intake_workers)
    promises = rooms.promises(config, tuning.deliveries.attempts)
    policy = ConversionPolicy(
        destinations=tuple(target.name for target in targets),
        identity=Identity(four_d=config.conversion.four_d),
        backoff=tuning.conversions,
        recover=rooms.origins(config),
    )
    converting = Pulse("convert", tuning.converting)
    works = {errand: Pulse(errand.name, tuning.delivering) for errand in worker.errands(targets)}
    committing = tuple(Pulse(one.name, tuning.delivering) for one in worker.PROMISERS)

    def convert(stop: Stop) -> None:
        doors.close()
        worker.convert(data_dir, config.intake.study_quiet_seconds, policy, Watched(stop, converting))

    def deliver(stop: Stop) -> None:
        doors.close()
        worker.deliver(data_dir, works, tuning.deliveries, promises, committing, stop, tuning.grace)

    def intake_of(number: int) -> Role:
        died = False  # kept by the parent, seen by what it forks afterwards
        accepting = Pulse(f"intake {number + 1}", tuning.accepting)

        def main(stop: Stop) -> None:
            watched = Watched(stop, accepting)
            intake(config, doors, slots, progress, number, watched, grace=tuning.grace, recover=died)

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


def _ready(config: Config, doors: Doors) -> None:
    names = [door.getsockname() if door is not None else None for door in doors]
    address = next(name[0] for name in names if name)
    port, tls_port = (name and name[1] for name in names)
    event("ready", ae_title=config.gateway.ae_title, address=address, port=port, tls_port=tls_port)
    sd.notify("READY=1")


def _stopping(doors: Doors) -> None:
    sd.notify("STOPPING=1")
    event("stopping")
    doors.close()
