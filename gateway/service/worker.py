"""The workers behind the intake: one process converts, one delivers with a thread for each destination.

The delivery process also looks into the requests for storage commitment and answers them, in two threads more.
"""

from __future__ import annotations

import threading
from pathlib import Path

from gateway.archive.index import Archive
from gateway.network.commitment import Reporter
from gateway.network.sender import Sender
from gateway.pipeline.convert import ConversionPolicy, Converter
from gateway.pipeline.deliver import Deliverer, Target
from gateway.pipeline.promises import Examiner, PromisePolicy, Teller
from gateway.pipeline.retry import Backoff
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


def deliver(
    data_dir: Path,
    targets: tuple[Target, ...],
    delivering: tuple[Pulse, ...],
    backoff: Backoff,
    policy: PromisePolicy,
    committing: tuple[Pulse, ...],
    stop: Stop,
    grace: float,
) -> None:
    """Deliver to every destination, and answer requests for storage commitment, until the end.

    Each of `targets` and of `PROMISERS` has its sign of life.
    """
    archive = Archive(data_dir)
    sender = Sender()
    deliverers = [
        Deliverer(archive, target, sender, backoff=backoff, stop=Watched(stop, pulse).is_set, grace=grace)
        for target, pulse in zip(targets, delivering, strict=True)
    ]
    threads = [threading.Thread(target=one.run, name=f"deliver {one.target.name}") for one in deliverers]
    for kind, pulse in zip(PROMISERS, committing, strict=True):
        promiser = kind(archive, policy, Reporter(), Watched(stop, pulse).is_set)
        threads.append(threading.Thread(target=promiser.run, name=promiser.name))
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join()
    archive.close()
