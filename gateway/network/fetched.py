"""What destinations that fetch have fetched, by C-MOVE or C-GET, whoever asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.archive.jobs import DELIVER
from gateway.observe import event, fault

if TYPE_CHECKING:
    from gateway.archive.index import Archive
    from gateway.archive.rows import InstanceRow
    from gateway.network.policy import NetworkSettings
    from gateway.retrieval.transcript import Outcome


class Fetching:
    """One retrieval to an application entity.

    Parameters
    ----------
    archive : Archive
        Holds who has what.
    settings : NetworkSettings
        Which destinations fetch, and which view.
    receiver : str
        AE title of who receives the instances.
    """

    def __init__(self, archive: Archive, settings: NetworkSettings, receiver: str) -> None:
        self._archive = archive
        self._receiver = receiver
        self._view = settings.pulls.get(receiver)
        self._counts: dict[str, int] = {}

    def record(self, row: InstanceRow, outcome: Outcome) -> None:
        """Note that an instance was taken, if it is one that the destination shall have."""
        if self._view is None or not outcome.delivered or not row.views & self._view or not row.settled:
            return
        if row.prior or row.peer == self._receiver:
            return
        fault("fetch.after_store")
        self._archive.custody.delivered(row.study, self._receiver, row, outcome.status, outcome.comment)
        self._counts[row.study] = self._counts.get(row.study, 0) + 1

    def close(self) -> None:
        """Have it looked at whether the destination has everything now."""
        for study, count in self._counts.items():
            event("deliver.fetched", study=study, destination=self._receiver, instances=count)
            jobs = self._archive.jobs.listing(study)
            if any(job.kind == DELIVER and job.destination == self._receiver for job in jobs):
                self._archive.jobs.schedule(DELIVER, study, self._receiver)
