"""Tells the destinations that fetch what there is for them (PS3.4 annex R), until they have fetched it.

What they fetch is noted by the retrieve services (`gateway.network.fetched`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.archive.custody import FETCHES, NOTIFIED
from gateway.archive.index import Archive
from gateway.archive.jobs import DELIVER, Job
from gateway.archive.rows import InstanceRow
from gateway.archive.views import name_of
from gateway.network.availability import notify
from gateway.network.normalized import NotTaken
from gateway.network.requestor import Timeouts
from gateway.observe import event, fault
from gateway.pipeline.retry import Backoff
from gateway.pipeline.visits import Target, Visits, due_to

# Pause before something that has not been fetched is told of again. A PACS may leave it for a quiet hour.
REMINDERS = Backoff(first=900, longest=21600, spread=0)


class Notifier(Visits):
    """Works off the deliveries to one destination that fetches.

    Parameters
    ----------
    archive, target, backoff, stop, grace
        See `Visits`.
    reminders : Backoff
        How long it has to fetch before it is told again.
    timeouts : Timeouts
        Limits of the waits on an association.
    """

    KIND = DELIVER

    def __init__(
        self,
        archive: Archive,
        target: Target,
        *,
        reminders: Backoff = REMINDERS,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
        stop: Callable[[], bool] = lambda: False,
        grace: float = 5.0,
    ) -> None:
        super().__init__(archive, target, backoff=backoff, stop=stop, grace=grace)
        self.reminders = reminders
        self.timeouts = timeouts

    def work(self, job: Job) -> None:
        """Tell the destination what is new, or after a while of all it has not fetched."""
        study, name = job.study, self.target.name
        fault("deliver.before_decision")
        view = self.custody.decide(study, name, self.target.view, FETCHES).view
        fault("deliver.after_decision")
        rows = self.custody.outstanding(study, name, due_to(self.archive, self.target, study, view))
        if not rows:
            self.brought(job)
            event("deliver.done", study=study, destination=name, view=name_of(view), fetched=True)
            return
        self.custody.expect(study, name, rows)
        standing = self.custody.standing(study, name)
        new = [row for row in rows if standing[row.sop_instance].state != NOTIFIED]
        told = max((one.at for one in standing.values() if one.state == NOTIFIED), default=0.0)
        attempts = job.attempts
        if new or job.hurried or self.clock.now() >= told + self.reminders.delay(attempts + 1):
            if not self._tell(job, new or rows):
                return
            attempts, told = (0 if new else attempts + 1), self.clock.now()
        again = told + self.reminders.delay(attempts + 1)
        self.jobs.put_off(
            job, f"{name} has been told of {len(rows)} instances that it has not fetched", again, attempts
        )

    def _tell(self, job: Job, rows: Sequence[InstanceRow]) -> bool:
        """Send the notification; False if the destination does not take it, and the job waits for another time."""
        study, name = job.study, self.target.name
        try:
            answer = notify(
                self.target.destination,
                study,
                rows,
                lambda part: self.custody.notified(study, name, part),
                timeouts=self.timeouts,
                watch=self.watch,
            )
        except NotTaken as error:
            self.present()
            # It may ask and fetch all the same.
            self.later(job, f"{error.problem}; it can query and fetch without being told", self.reminders.longest)
            return False
        self.present()
        if not answer.done:
            self.later(job, f"{name} refuses the notification: {answer}", self.backoff.delay(job.attempts + 1))
            return False
        event("deliver.notified", study=study, destination=name, instances=len(rows))
        return True

    def put_back(self, job: Job, reason: str, not_before: float) -> None:
        """Have a job wait; what is fetched meanwhile makes it due."""
        self.jobs.put_off(job, reason, not_before, job.attempts)
