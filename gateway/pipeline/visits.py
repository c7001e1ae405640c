"""Work at one destination, job by job: one thread each, none waits for another, and none ever gives up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.archive.due import due
from gateway.archive.index import Archive
from gateway.archive.jobs import COMMIT, Job
from gateway.archive.rows import InstanceRow
from gateway.archive.views import View
from gateway.errors import DamagedError, NetworkError, Rejected
from gateway.observe import LOGGER, event, fault, warning
from gateway.pipeline.retry import Backoff, Outage
from gateway.retrieval.engine import Destination

# How long a stop, a new job or `gateway queue retry` may go unnoticed.
POLL = 0.2

# Pause after a trouble of our own.
TROUBLE = 2.0

# Seconds between the jobs that are put off together.
_APART = 0.001

INTERRUPTED = "interrupted by a stop of the gateway"


@dataclass(frozen=True)
class Target:
    """A destination and what it shall get.

    Attributes
    ----------
    destination : Destination
        Address; its AE title names the destination in jobs and records.
    view : View
        The view it gets.
    when_refused : str
        It does not take an enhanced class: ``"classic"`` sends the classic view, ``"hold"`` nothing.
    commitment : bool
        Whether it is asked for storage commitment.
    pull : bool
        It is told what there is and fetches it, from the AE title that its address calls from.
    safe : bool
        What most readers cannot show right as an enhanced object goes there as classic images.
    """

    destination: Destination
    view: View
    when_refused: str = "classic"
    commitment: bool = False
    pull: bool = False
    safe: bool = False

    @property
    def name(self) -> str:
        """Its AE title."""
        return self.destination.ae_title


class Held(Exception):
    """The destination does not take what it shall get, and nothing else is allowed."""


class Stopped(Exception):
    """The box ends and what is in flight takes too long."""


def due_to(archive: Archive, target: Target, study: str, view: View) -> list[InstanceRow]:
    """Return what of a view is for a destination: nothing that a destination has sent, nothing undecided."""
    return due(archive, target.name, study, view, fetches=target.pull)


class Visits:
    """Works off the jobs of one kind at one destination.

    Parameters
    ----------
    archive : Archive
        Of this process.
    target : Target
        The destination.
    backoff : Backoff
        Delay between attempts.
    stop : callable
        Whether this process shall end.
    grace : float
        Seconds that what is in flight has to arrive when it shall.
    """

    # Kind of the jobs, also the first part of the names of events.
    KIND = ""

    def __init__(
        self,
        archive: Archive,
        target: Target,
        *,
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
        stop: Callable[[], bool] = lambda: False,
        grace: float = 5.0,
    ) -> None:
        self.archive = archive
        self.jobs = archive.jobs
        self.custody = archive.custody
        self.clock = archive.clock
        self.target = target
        self.backoff = backoff
        self.stop = stop
        self.grace = grace
        self._stopping_since: float | None = None
        self._outage: Outage | None = None

    def run(self) -> None:
        """Work until this process shall end."""
        left = True  # a job may be running for which nobody works: at the start, and when an end could not be noted
        while not self.stop():
            try:
                if left:
                    self.jobs.release_running(self.KIND, self.target.name)
                    left = False
                if not self.step():
                    time.sleep(POLL)
            except Exception:  # the index is locked or the disk is full: not for ever
                LOGGER.exception("%s: %s", self.KIND, self.target.name)
                left = True
                time.sleep(TROUBLE)

    def step(self) -> bool:
        """Work on one job that is due; False if none is."""
        job = self.jobs.take(self.KIND, self.target.name)
        if job is None:
            return False
        if self._left_alone(job):
            return True
        try:
            self.work(job)
        except (Held, DamagedError) as held:
            warning(f"{self.KIND}.held", study=job.study, destination=self.target.name, reason=held)
            self.jobs.hold(job, str(held))
        except Stopped:
            self.put_back(job, INTERRUPTED, self.clock.now())
        except NetworkError as error:
            self.absent(job, error.problem, lasting=isinstance(error, Rejected) and error.lasting)
        except Exception as error:  # a broken study must not keep the others from their turn
            LOGGER.exception("%s %s: %s", self.KIND, job.study, self.target.name)
            self.later(job, f"internal error: {error}", self.backoff.delay(job.attempts + 1), logging.ERROR)
        return True

    def work(self, job: Job) -> None:
        """Do a job, and say so."""
        raise NotImplementedError

    def watch(self) -> None:
        """Called about once a second while something is in flight."""
        if self.stop():
            now = self.clock.monotonic()
            self._stopping_since = self._stopping_since or now
            if now - self._stopping_since > self.grace:
                raise Stopped

    def brought(self, job: Job) -> None:
        """Note that the destination has everything of a study; whether it keeps it is the next question."""
        if self.target.commitment:
            self.jobs.schedule(COMMIT, job.study, self.target.name)
        fault("deliver.before_finish")
        self.jobs.finish(job)

    def ask_to_commit(self, job: Job) -> None:
        """Have the destination asked for what it has of a study, whatever else of it has to wait."""
        if self.target.commitment and self.archive.commitments.to_ask(job.study, self.target.name):
            self.jobs.schedule(COMMIT, job.study, self.target.name)

    # Another time

    def _left_alone(self, job: Job) -> bool:
        """Put a job off that comes while the destination is away, unless somebody wants it tried now."""
        outage = self._outage
        left = outage.until - self.clock.monotonic() if outage else 0.0
        if outage is None or left <= 0 or job.hurried:
            return False
        self.jobs.put_off(job, outage.reason, self.clock.now() + left, job.attempts)
        return True

    def absent(
        self, job: Job, reason: str, *, busy: bool = False, lasting: bool = False, said: str = "", own: float = 0.0
    ) -> None:
        """Put off everything for a destination that is not there: each further study would only ask again.

        Parameters
        ----------
        job : Job
            For which it was tried.
        reason : str
            Why it takes nothing, in plain words.
        busy : bool
            It is there and short of something.
        lasting : bool
            Somebody has to change its settings or ours first: there is no point in asking often.
        said : str
            Why this job waits, if not for the same reason as the others.
        own : float
            Seconds that this job waits at least.
        """
        now = self.clock.monotonic()
        known = self._outage or Outage(now, now, reason, attempts=0)
        delay = self.backoff.longest if lasting else self.backoff.after(now - known.since)
        self._outage = Outage(known.since, now + delay, reason, busy, known.attempts + 1)
        until = self.clock.now() + delay
        # In this order they will be tried again, and the one that has just been last: none keeps the others waiting.
        others = 0
        while self.clock.now() < until and (other := self.jobs.take(self.KIND, self.target.name)):
            others += 1
            self.jobs.put_off(other, reason, until + others * _APART, other.attempts)
        self.later(job, said or reason, max(delay, own) + others * _APART)

    def present(self, *, stored: bool = False) -> None:
        """The destination answers, or has stored something: if it was away, everything that waited for it is due."""
        if self._outage is not None and (stored or not self._outage.busy):
            event(f"{self.KIND}.back", destination=self.target.name, after=self._outage.attempts)
            reason, self._outage = self._outage.reason, None
            self.jobs.due_now(self.KIND, self.target.name, reason)

    def later(self, job: Job, reason: str, delay: float, level: int = logging.WARNING) -> None:
        """Try a job again after `delay` seconds."""
        event(
            f"{self.KIND}.retry",
            level,
            study=job.study,
            destination=self.target.name,
            reason=reason,
            attempts=job.attempts + 1,
            again_in=round(delay, 1),
        )
        self.put_back(job, reason, self.clock.now() + delay)

    def put_back(self, job: Job, reason: str, not_before: float) -> None:
        """Have a job wait for another attempt."""
        self.jobs.retry(job, reason, not_before)
