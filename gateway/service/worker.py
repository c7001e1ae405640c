"""The workers behind the intake: one process converts, one delivers with threads for each destination.

The delivery process also looks into the requests for storage commitment and answers them, in two threads more.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.archive.index import Archive
from gateway.archive.jobs import COMMIT, DELIVER
from gateway.network.commitment import Reporter
from gateway.network.sender import Sender
from gateway.pipeline.commit import Committer, Patience
from gateway.pipeline.convert import ConversionPolicy, Converter
from gateway.pipeline.deliver import Deliverer
from gateway.pipeline.notify import REMINDERS, Notifier
from gateway.pipeline.promises import Examiner, PromisePolicy, Teller
from gateway.pipeline.retry import Backoff
from gateway.pipeline.visits import Target, Visits
from gateway.service.liveness import Pulse, Watched
from gateway.service.process import Stop

# Who works on what the box was asked to promise, a thread each.
PROMISERS = (Examiner, Teller)


def convert(data_dir: Path, quiet: float, policy: ConversionPolicy, stop: Stop) -> None:
    """Convert studies until the end."""
    archive = Archive(data_dir, quiet=quiet)
    Converter(archive, policy, stop.is_set).run()
    archive.checkpoint()
    archive.close()


@dataclass(frozen=True)
class Pace:
    """How long things at the destinations wait for one another.

    Attributes
    ----------
    attempts : Backoff
        Delay between attempts to reach a destination.
    patience : Patience
        With answers to requests for storage commitment.
    reminders : Backoff
        How long a destination has to fetch before it is told again.
    """

    attempts: Backoff = field(default_factory=Backoff)
    patience: Patience = field(default_factory=Patience)
    reminders: Backoff = REMINDERS


@dataclass(frozen=True)
class Errand:
    """What one thread does at one destination: ``deliver`` or ``commit``."""

    kind: str
    target: Target

    @property
    def name(self) -> str:
        """For the log."""
        return f"ask {self.target.name} for commitment" if self.kind == COMMIT else f"deliver to {self.target.name}"


def errands(targets: Sequence[Target]) -> tuple[Errand, ...]:
    """Return what there is to do at the destinations."""
    wanted = [Errand(COMMIT, target) for target in targets if target.commitment]
    return (*(Errand(DELIVER, target) for target in targets), *wanted)


def _visits(archive: Archive, errand: Errand, pace: Pace, sender: Sender, **common: Any) -> Visits:
    common["backoff"] = pace.attempts
    if errand.kind == COMMIT:
        return Committer(archive, errand.target, patience=pace.patience, **common)
    if errand.target.pull:
        return Notifier(archive, errand.target, reminders=pace.reminders, **common)
    return Deliverer(archive, errand.target, sender, **common)


def deliver(
    data_dir: Path,
    works: Mapping[Errand, Pulse],
    pace: Pace,
    policy: PromisePolicy,
    committing: tuple[Pulse, ...],
    stop: Stop,
    grace: float,
) -> None:
    """Deliver, notify, ask for storage commitment and answer requests for it until the end.

    Each of `works` and of `PROMISERS` has its sign of life.
    """
    archive = Archive(data_dir)
    sender = Sender()
    threads = []
    for errand, pulse in works.items():
        visits = _visits(archive, errand, pace, sender, stop=Watched(stop, pulse).is_set, grace=grace)
        threads.append(threading.Thread(target=visits.run, name=errand.name))
    for kind, pulse in zip(PROMISERS, committing, strict=True):
        promiser = kind(archive, policy, Reporter(), Watched(stop, pulse).is_set)
        threads.append(threading.Thread(target=promiser.run, name=promiser.name))
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join()
    archive.close()
