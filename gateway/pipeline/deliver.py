"""Brings studies to their destinations: one thread each, none waits for another, and none ever gives up.

Whether a study goes to a destination as enhanced or as classic objects is asked of the destination once, by an
association that proposes the enhanced classes, and decided durably before the first byte leaves. Objects that are
compressed without loss are decoded for a destination that takes only native ones, and native ones deflated for one that
shall get them so. What was acknowledged is recorded one by one, so that an attempt that breaks off only leaves what it
had not brought there.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

from pydicom.uid import UID

from gateway.archive.index import Archive
from gateway.archive.jobs import DELIVER, Job
from gateway.archive.rows import InstanceRow
from gateway.archive.status import DECODED
from gateway.archive.views import View, name_of
from gateway.observe import event, fault
from gateway.pipeline.retry import Backoff
from gateway.pipeline.visits import INTERRUPTED, Held, Target, Visits, due_to
from gateway.retrieval.decompress import Decompressing, was_decoded
from gateway.retrieval.engine import Outbound, associations, run
from gateway.retrieval.rendition import Deflating, Rendition, choose, refusal, was_deflated
from gateway.retrieval.transcript import Fate, Outcome, Transcript


class Deliverer(Visits):
    """Works off the deliveries to one destination.

    Parameters
    ----------
    archive, target, backoff, stop, grace
        See `Visits`.
    outbound : Outbound
        Establishes associations.
    """

    KIND = DELIVER

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
        super().__init__(archive, target, backoff=backoff, stop=stop, grace=grace)
        self.outbound = outbound
        self.rendition: Rendition = Decompressing(archive.files.intake, self.watch)
        if target.destination.deflate:
            self.rendition = Deflating(self.rendition)

    # One delivery

    def work(self, job: Job) -> None:
        """Bring a study to the destination."""
        view = self._view(job.study)
        rows = self._outstanding(job.study, view)
        if not rows:
            self.brought(job)
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
                watch=self.watch,
                rendition=self.rendition,
            )
        self._conclude(job, done, view, self.clock.monotonic() - started)

    def _outstanding(self, study: str, view: View) -> list[InstanceRow]:
        """Return what the destination does not have, what it has not been offered before what it did not take.

        An object that makes the peer break off must not stand in the way of those behind it.
        """
        rows = self.custody.outstanding(study, self.target.name, due_to(self.archive, self.target, study, view))
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
            self.present()
        if done.broken and not delivered and not cut_short:
            self.absent(job, done.broken)
        elif done.broken:
            self.later(job, f"{done.broken} after {delivered} instances", self.backoff.delay(attempt))
        elif done.cancelled and done.remaining:
            self.jobs.retry(job, INTERRUPTED, self.clock.now())
        elif done.failed:
            reason = f"{done.failed} of {len(done.rows)} instances not taken: {done.reason()}"
            self.later(job, reason, self.backoff.delay(attempt))
        else:
            self.brought(job)
            event(
                "deliver.done",
                study=job.study,
                destination=self.target.name,
                view=name_of(view),
                instances=delivered,
                decoded=sum(map(was_decoded, done.rows, filter(None, done.outcomes))) or None,
                deflated=sum(map(was_deflated, done.rows, filter(None, done.outcomes))) or None,
                warnings=done.warning or None,
                seconds=round(seconds, 2),
            )

    # The decision

    def _view(self, study: str) -> View:
        """Return the view a study goes in, after asking the destination if that has not been decided."""
        name = self.target.name
        known = self.custody.decision(study, name)
        if known is not None:
            return known.view
        view, reason = self.target.view, "as configured"
        if view == View.ENHANCED:
            choice = [row for row in due_to(self.archive, self.target, study, view) if not row.views & View.CLASSIC]
            if not choice:
                # Both forms of the study are the same so far; the question is open until one differs.
                return view
            refused = next(self._refused(choice), None)
            if refused and self.target.when_refused == "hold":
                raise Held(f"{refused}; the study is held, as configured")
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
            association = self.outbound.connect(self.target.destination, proposal, watch=self.watch)
            association.release()
            self.present()
            for row in (rows[index] for index in indexes):
                accepted = association.accepted(row.sop_class)
                if choose(row, accepted, self.rendition) is None:
                    yield refusal(row, accepted)
