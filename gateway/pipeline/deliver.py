"""Brings studies to their destinations: one thread each, none waits for another, and none ever gives up.

Whether a study goes to a destination as enhanced or as classic objects is asked of the destination once, by an
association that proposes the enhanced classes, and decided durably before the first byte leaves. Objects that are
compressed without loss are decoded for a destination that takes only native ones. What was acknowledged
is recorded one by one, so that an attempt that breaks off only leaves what it had not brought there.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydicom.uid import UID

from gateway.archive.index import Archive
from gateway.archive.jobs import DELIVER, Job
from gateway.archive.rows import InstanceRow
from gateway.archive.status import DECODED
from gateway.archive.views import View, name_of
from gateway.errors import NetworkError
from gateway.observe import LOGGER, event, fault, warning
from gateway.pipeline.retry import Backoff
from gateway.retrieval.decompress import Decompressing, was_decoded
from gateway.retrieval.engine import Destination, Outbound, associations, run
from gateway.retrieval.rendition import choose, refusal
from gateway.retrieval.transcript import Fate, Outcome, Transcript

# How long a stop, a new job or `gateway queue retry` may go unnoticed.
POLL = 0.2

# Pause after a trouble of our own.
TROUBLE = 2.0

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
    """

    destination: Destination
    view: View
    when_refused: str = "classic"

    @property
    def name(self) -> str:
        """Its AE title."""
        return self.destination.ae_title


class _Held(Exception):
    """The destination does not take what it shall get, and nothing else is allowed."""


class _Stopped(Exception):
    """The box ends and the object in flight takes too long."""


class Deliverer:
    """Works off the deliveries to one destination.

    Parameters
    ----------
    archive : Archive
        Of this process.
    target : Target
        The destination.
    outbound : Outbound
        Establishes associations.
    backoff : Backoff
        Delay between attempts.
    stop : callable
        Whether this process shall end.
    grace : float
        Seconds that the object in flight has to arrive when it shall.
    """

    def __init__(
        self,
        archive: Archive,
        target: Target,
        outbound: Outbound,
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
        self.outbound = outbound
        self.backoff = backoff
        self.stop = stop
        self.grace = grace
        self.rendition = Decompressing(archive.files.intake, self._watch)
        self._stopping_since: float | None = None
        self._absences = 0  # attempts in a row at which the destination was not there

    def run(self) -> None:
        """Deliver until this process shall end."""
        left = True  # a job may be running for which nobody works: at the start, and when an end could not be noted
        while not self.stop():
            try:
                if left:
                    self.jobs.release_running(DELIVER, self.target.name)
                    left = False
                if not self.step():
                    time.sleep(POLL)
            except Exception:  # the index is locked or the disk is full: not for ever
                LOGGER.exception("deliveries to %s", self.target.name)
                left = True
                time.sleep(TROUBLE)

    def step(self) -> bool:
        """Work on one delivery that is due; False if none is."""
        job = self.jobs.take(DELIVER, self.target.name)
        if job is None:
            return False
        try:
            self._deliver(job)
        except _Held as held:
            warning("deliver.held", study=job.study, destination=self.target.name, reason=held)
            self.jobs.hold(job, str(held))
        except _Stopped:
            self.jobs.retry(job, INTERRUPTED, self.clock.now())
        except NetworkError as error:
            self._absent(job, error.problem)
        except Exception as error:  # a broken study must not keep the others from being delivered
            LOGGER.exception("delivery of %s to %s", job.study, self.target.name)
            self._later(job, f"internal error: {error}", self.backoff.delay(job.attempts + 1), logging.ERROR)
        return True

    # One delivery

    def _deliver(self, job: Job) -> None:
        view = self._view(job.study)
        rows = self._outstanding(job.study, view)
        if not rows:
            self.jobs.finish(job)
            return
        self.custody.expect(job.study, self.target.name, rows)
        started = self.clock.monotonic()
        with contextlib.closing(self.rendition):
            done = run(
                self.archive,
                rows,
                self.target.destination,
                self.outbound,
                on_result=lambda row, outcome: self._record(job.study, row, outcome),
                cancelled=self.stop,
                watch=self._watch,
                rendition=self.rendition,
            )
        self._conclude(job, done, view, self.clock.monotonic() - started)

    def _rows(self, study: str, view: View) -> list[InstanceRow]:
        """Return what of a view is for this destination: nothing that a destination has sent, nothing undecided."""
        rows = self.archive.study_instances(study, view)
        return [row for row in rows if row.settled and not row.prior and row.peer != self.target.name]

    def _outstanding(self, study: str, view: View) -> list[InstanceRow]:
        """Return what the destination does not have, what it has not been offered before what it did not take.

        An object that makes the peer break off must not stand in the way of those behind it.
        """
        rows = self.custody.outstanding(study, self.target.name, self._rows(study, view))
        attempts = {known.sop_instance: known.attempts for known in self.custody.deliveries(study, self.target.name)}
        return sorted(rows, key=lambda row: attempts.get(row.sop_instance, 0))

    def _record(self, study: str, row: InstanceRow, outcome: Outcome) -> None:
        """Write down what became of one instance."""
        fault("deliver.after_store")
        name = self.target.name
        if outcome.delivered:
            how = f"{DECODED}{UID(row.transfer_syntax).name}" if was_decoded(row, outcome) else ""
            self.custody.delivered(study, name, row, outcome.status, "; ".join(filter(None, (how, outcome.comment))))
            return
        status = f"{outcome.status:04X}"
        reason = outcome.comment or f"status {status}"
        fields = {"study": study, "destination": name, "instance": row.sop_instance}
        # The status of the study has it too, and thousands may be refused every ten minutes.
        event("deliver.refused", logging.DEBUG, status=status, reason=reason, **fields)
        refused = outcome.fate in (Fate.REFUSED, Fate.FAILED)
        self.custody.failed(study, name, row, outcome.status, reason, refused=refused)

    def _conclude(self, job: Job, done: Transcript, view: View, seconds: float) -> None:
        delivered = done.completed + done.warning
        attempt = 1 if delivered else job.attempts + 1
        cut_short = done.having(Fate.INTERRUPTED)
        for row in cut_short:
            self.custody.failed(job.study, self.target.name, row, None, done.broken)
        if delivered or cut_short:
            self._present()
        if done.broken and not delivered and not cut_short:
            self._absent(job, done.broken)
        elif done.broken:
            self._later(job, f"{done.broken} after {delivered} instances", self.backoff.delay(attempt))
        elif done.cancelled and done.remaining:
            self.jobs.retry(job, INTERRUPTED, self.clock.now())
        elif done.failed:
            reason = f"{done.failed} of {len(done.rows)} instances not taken: {done.reason()}"
            self._later(job, reason, self.backoff.delay(attempt))
        else:
            self.jobs.finish(job)
            event(
                "deliver.done",
                study=job.study,
                destination=self.target.name,
                view=name_of(view),
                instances=delivered,
                decoded=sum(map(was_decoded, done.rows, filter(None, done.outcomes))) or None,
                warnings=done.warning or None,
                seconds=round(seconds, 2),
            )

    def _watch(self) -> None:
        """Called about once a second while something is in flight."""
        if self.stop():
            now = self.clock.monotonic()
            self._stopping_since = self._stopping_since or now
            if now - self._stopping_since > self.grace:
                raise _Stopped

    # The decision

    def _view(self, study: str) -> View:
        """Return the view a study goes in, after asking the destination if that has not been decided."""
        name = self.target.name
        known = self.custody.decision(study, name)
        if known is not None:
            return known.view
        view, reason = self.target.view, "as configured"
        if view == View.ENHANCED:
            choice = [row for row in self._rows(study, view) if not row.views & View.CLASSIC]
            if not choice:
                # Both forms of the study are the same so far; the question is open until one differs.
                return view
            refused = next(self._refused(choice), None)
            if refused and self.target.when_refused == "hold":
                raise _Held(f"{refused}; the study is held, as configured")
            if refused:
                view, reason = View.CLASSIC, f"{refused}; the study goes as classic images, as configured"
            else:
                reason = f"{name} takes every enhanced class of the study"
        fault("deliver.before_decision")
        view = self.custody.decide(study, name, view, reason).view
        fault("deliver.after_decision")
        event("deliver.decided", study=study, destination=name, view=name_of(view), reason=reason)
        return view

    def _refused(self, rows: list[InstanceRow]) -> Iterator[str]:
        """Propose what `rows` need and yield in plain words what the destination does not take."""
        for proposal, indexes in associations(rows, self.rendition):
            association = self.outbound.connect(self.target.destination, proposal, watch=self._watch)
            association.release()
            self._present()
            for row in (rows[index] for index in indexes):
                accepted = association.accepted(row.sop_class)
                if choose(row, accepted, self.rendition) is None:
                    yield refusal(row, accepted)

    # Another time

    def _absent(self, job: Job, reason: str) -> None:
        """Put off everything for a destination that is not there: each further study would only ask again."""
        self._absences += 1
        delay = self.backoff.delay(self._absences)
        self._later(job, reason, delay)
        until = self.clock.now() + delay
        while self.clock.now() < until and (other := self.jobs.take(DELIVER, self.target.name)):
            self.jobs.retry(other, reason, until)

    def _present(self) -> None:
        """The destination answers: if it was away, everything that waited for it is due."""
        if self._absences:
            event("deliver.back", destination=self.target.name, after=self._absences)
            self._absences = 0
            self.jobs.retry_now(DELIVER, destination=self.target.name)

    def _later(self, job: Job, reason: str, delay: float, level: int = logging.WARNING) -> None:
        event(
            "deliver.retry",
            level,
            study=job.study,
            destination=self.target.name,
            reason=reason,
            attempts=job.attempts + 1,
            again_in=round(delay, 1),
        )
        self.jobs.retry(job, reason, self.clock.now() + delay)
