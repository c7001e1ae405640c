"""The intake process: serves associations on the listening socket that all intake processes share."""

from __future__ import annotations

from pathlib import Path

from gateway.archive.index import Archive
from gateway.archive.progress import Progress
from gateway.network.sender import Sender
from gateway.network.server import serve
from gateway.network.slots import Slots
from gateway.service.config import Config
from gateway.service.doors import Doors
from gateway.service.process import Stop
from gateway.service.rooms import network_settings, origins


def intake(
    config: Config,
    doors: Doors,
    slots: Slots,
    progress: Progress,
    worker: int,
    stop: Stop,
    *,
    grace: float,
    recover: bool,
) -> None:
    """Serve associations until the end.

    Parameters
    ----------
    config : Config
        The configuration.
    doors : Doors
        Bound and listening.
    slots : Slots
        Limit on associations.
    progress : Progress
        How far the intake processes are with registering what they have acknowledged.
    worker : int
        Number of this process among the intake processes.
    stop : Stop
        The end.
    grace : float
        Seconds that requests on their way have then.
    recover : bool
        Whether this process takes the place of one that died: what that one has left is put in order first.
    """
    archive = Archive(Path(config.gateway.data_dir), quiet=config.intake.study_quiet_seconds)
    settings = network_settings(config)
    if recover:
        archive.recover(origins(config))
        progress.clear(worker)
    archive.files.make_ahead()
    serve(
        doors.plain,
        settings,
        archive,
        slots=slots,
        worker=worker,
        outbound=Sender(),
        stop=stop,
        grace=grace,
        progress=progress,
        secure_listener=doors.secure,
    )
    archive.close()
