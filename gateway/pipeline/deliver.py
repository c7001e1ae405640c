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
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from pydicom.uid import UID

from gateway.archive.custody import DELIVERED, REFUSED
from gateway.archive.delivery_status import DECODED
from gateway.archive.index import Archive
from gateway.archive.jobs import DELIVER, Job
from gateway.archive.rows import RECEIVED, InstanceRow
from gateway.archive.views import View, name_of
from gateway.errors import NetworkError, Rejected
from gateway.observe import event, fault, warning
from gateway.pipeline.form import Forms
from gateway.pipeline.learning import Learning
from gateway.pipeline.retry import Backoff
from gateway.pipeline.sequels import BUSY_IN_A_ROW, Tally, of_answer, of_break, reasons
from gateway.pipeline.visits import INTERRUPTED, Held, Target, Visits, due_to
from gateway.pipeline.whole import WholeSeries
from gateway.retrieval.decompress import Decompressing, was_decoded
from gateway.retrieval.engine import Destination, Outbound, OutboundAssociation, associations, run
from gateway.retrieval.rendition import Deflating, Offer, Rendition, choose, refusal, was_deflated
from gateway.retrieval.transcript import Fate, Outcome, Transcript
from gateway.standard.statuses import Kind, describe, kind_of

# Seconds between two questions whether a destination takes by now what it has refused unsent.
SELDOM = 86400.0


class Attentive:
    """Establishes associations, and tells what the peer accepts on each.

    Parameters
    ----------
    outbound : Outbound
        Establishes them.
    note : callable
        Gets the transfer syntaxes accepted of each SOP class that was proposed.
    """

    def __init__(self, outbound: Outbound, note: Callable[[dict[str, tuple[str, ...]]], None]) -> None:
        self._outbound = outbound
        self._note = note

    def connect(
        self, destination: Destination, offers: Sequence[Offer], *, watch: Callable[[], None] | None = None
    ) -> OutboundAssociation:
        """Establish an association; see `Outbound`."""
        association = self._outbound.connect(destination, offers, watch=watch)
        self._note({offer.sop_class: association.accepted(offer.sop_class) for offer in offers})
        return association


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
        self.outbound = Attentive(Learning(outbound, archive.taken), self._note)
        self.forms = Forms(archive, target, self._refusals)
        self._accepted: dict[str, set[str]] = {}  # transfer syntaxes by SOP class, as it has said last
        self._busy: set[str] = set()  # instances in a row that it was too short of something for
        self._took = False  # something since it has broken off the last time
        self._tally = Tally()
        self._look_again = 0.0
        self.rendition: Rendition = Decompressing(archive.files.intake, self.watch)
        if target.destination.deflate:
            self.rendition = Deflating(self.rendition)

    def step(self) -> bool:
        """Work on one job that is due; False if none is."""
        if self.clock.monotonic() >= self._look_again:
            self._look_again = self.clock.monotonic() + SELDOM
            self._reconsider()
        return super().step()

    # One delivery

    def work(self, job: Job) -> None:
        """Bring a study to the destination."""
        if job.hurried:
            self.custody.forgive(job.study, self.target.name)
        view = self.forms.view(job.study)
        due = due_to(self.archive, self.target, job.study, view)
        rows = self._to_try(job.study, due)
        self.custody.expect(job.study, self.target.name, due)
        if not rows:
            self._settle(job, due)
            return
        started = self.clock.monotonic()
        self._tally = Tally()
        if self._outage:
            self._busy.clear()  # one more of them is enough
        with contextlib.closing(self.rendition):
            done = run(
                WholeSeries(self.archive, rows, self.watch),
                rows,
                self.target.destination,
                self.outbound,
                on_result=lambda row, outcome: self._record(job.study, row, outcome),
                cancelled=lambda: self.stop() or self._short(),
                watch=self.watch,
                rendition=self.rendition,
            )
        self._tell(job, done, view, self.clock.monotonic() - started)
        self._conclude(job, done, due)

    def _to_try(self, study: str, due: list[InstanceRow]) -> list[InstanceRow]:
        """Return what the destination shall be sent, what it has not been offered before what it did not take.

        An object that makes the peer break off must not stand in the way of those behind it. What it takes no
        presentation context for is proposed again whenever there is something else to send: that costs nothing.
        """
        known = {one.sop_instance: one for one in self.custody.deliveries(study, self.target.name)}
        tried, unsent = [], []
        for row in self.custody.outstanding(study, self.target.name, due):
            before = known.get(row.sop_instance)
            if before is None or before.state != REFUSED or before.digest != row.digest:
                tried.append(row)
            elif not before.tries:
                unsent.append(row)
        if not tried:
            return [row for row in unsent if self._accepted.get(row.sop_class, set()) & set(self._syntaxes(row))]
        attempts = {uid: one.attempts for uid, one in known.items()}
        return sorted([*tried, *unsent], key=lambda row: attempts.get(row.sop_instance, 0))

    def _syntaxes(self, row: InstanceRow) -> tuple[str, ...]:
        return self.rendition.syntaxes(row)

    def _short(self) -> bool:
        """Whether the destination is short of something for whatever it is sent."""
        return len(self._busy) >= (1 if self._outage else BUSY_IN_A_ROW)

    def _record(self, study: str, row: InstanceRow, outcome: Outcome) -> None:
        """Write down what became of one instance."""
        fault("deliver.after_store")
        name = self.target.name
        before = self.custody.delivery(study, name, row)
        sequel = of_answer(outcome, before, versions=self._versions(row, outcome))
        self._tally.add(sequel, outcome.status)
        if sequel.state == DELIVERED:
            self._busy.clear()
            self._took = True
            how = f"{DECODED}{UID(row.transfer_syntax).name}" if was_decoded(row, outcome) else ""
            self.custody.delivered(study, name, row, outcome.status, "; ".join(filter(None, (how, sequel.reason))))
            return
        answered = outcome.status if outcome.local is None else None
        if answered is not None and kind_of(answered) == Kind.BUSY:
            self._busy.add(row.sop_instance)
        fields = {"study": study, "destination": name, "instance": row.sop_instance}
        # The status of the study has it too, and thousands may be refused every ten minutes.
        event("deliver.refused", logging.DEBUG, status=f"{outcome.status:04X}", reason=sequel.reason, **fields)
        refused = sequel.state == REFUSED
        self.custody.failed(study, name, row, answered, sequel.reason, refused=refused, tries=sequel.tries)

    def _versions(self, row: InstanceRow, outcome: Outcome) -> bool:
        """Whether the destination may have another version of what it says to have already."""
        if kind_of(outcome.status) != Kind.THERE or row.kind != RECEIVED:
            return False  # the UID of what was made here says what is in it
        return any(one.digest != row.digest for one in self.archive.versions(row.sop_instance))

    def _conclude(self, job: Job, done: Transcript, due: list[InstanceRow]) -> None:
        delivered = self._tally.delivered
        attempt = 1 if delivered else job.attempts + 1
        cut_short = done.having(Fate.INTERRUPTED)
        for row in cut_short:
            self._broke(job.study, row, done)
        if delivered or cut_short:
            self.present(stored=bool(delivered))
        if not done.broken or not delivered:
            self.ask_to_commit(job)
        delay = self.backoff.delay(attempt)
        if done.broken and not delivered and not cut_short:
            lasting = isinstance(done.error, Rejected) and done.error.lasting
            self.absent(job, done.broken, lasting=lasting)
        elif done.broken:
            self.later(job, f"{done.broken} after {delivered} instances", delay)
        elif self._tally.failed and self._short() and not self.stop():
            self._busy.clear()
            self.absent(job, next(iter(self._tally.failed)), busy=True, said=self._not_taken(done), own=delay)
        elif done.cancelled and done.remaining:
            self.jobs.retry(job, INTERRUPTED, self.clock.now())
        elif (unread := done.having(Fate.UNREADABLE)) and len(unread) == self._tally.failed.total():
            # Until there is another copy, or somebody looks; what is whole has been sent.
            raise Held(f"{len(unread)} of {len(done.rows)} instances not sent: {reasons(self._tally.failed)}")
        elif self._tally.failed:
            self.later(job, self._not_taken(done), delay)
        else:
            self._settle(job, due)

    def _not_taken(self, done: Transcript) -> str:
        counts = self._tally.failed
        return f"{counts.total()} of {len(done.rows)} instances not taken: {reasons(counts)}"

    def _broke(self, study: str, row: InstanceRow, done: Transcript) -> None:
        """Write down that the connection broke while an instance was under way."""
        name = self.target.name
        before = self.custody.delivery(study, name, row)
        sequel = of_break(done.error, done.broken, before, blamed=self._took)
        self._took = False
        self._tally.add(sequel, 0)
        refused = sequel.state == REFUSED
        self.custody.failed(study, name, row, None, sequel.reason, refused=refused, tries=sequel.tries)

    def _settle(self, job: Job, due: list[InstanceRow]) -> None:
        """Note that nothing more is to be sent of a study: all is there, or the rest is not deliverable."""
        wanted = {(row.sop_instance, row.digest) for row in due}
        known = self.custody.deliveries(job.study, self.target.name)
        refused = Counter(
            one.reason for one in known if one.state == REFUSED and (one.sop_instance, one.digest) in wanted
        )
        if not refused:
            self.brought(job)
            return
        self.ask_to_commit(job)
        raise Held(f"{refused.total()} of {len(due)} instances not deliverable: {reasons(refused)}")

    def _tell(self, job: Job, done: Transcript, view: View, seconds: float) -> None:
        """Log what the destination has said."""
        fields: dict[str, Any] = {"study": job.study, "destination": self.target.name}
        for status, count in sorted((+self._tally.warnings).items()):
            warning("deliver.warned", **fields, status=describe(status), instances=count)
        if done.broken or self._tally.failed or self._tally.refused:
            return
        event(
            "deliver.done",
            **fields,
            view=name_of(view),
            instances=self._tally.delivered,
            decoded=sum(map(was_decoded, done.rows, filter(None, done.outcomes))) or None,
            deflated=sum(map(was_deflated, done.rows, filter(None, done.outcomes))) or None,
            warnings=self._tally.warnings.total() or None,
            seconds=round(seconds, 2),
        )

    # What it takes by now

    def _note(self, accepted: dict[str, tuple[str, ...]]) -> None:
        """Learn what the destination has accepted, and send what it has refused before and takes now."""
        for sop_class, syntaxes in accepted.items():
            news = set(syntaxes) - self._accepted.get(sop_class, set())
            self._accepted[sop_class] = set(syntaxes)
            if news:
                for study in self.custody.unsent_of(self.target.name, sop_class):
                    self.jobs.schedule(DELIVER, study, self.target.name)

    def _reconsider(self) -> None:
        """Ask the destination whether it takes by now what it took no context for: one association for all."""
        unsent = self.custody.unsent(self.target.name)
        if unsent:
            with contextlib.suppress(NetworkError):
                for proposal, _ in associations(self.archive.instances(unsent), self.rendition):
                    self.outbound.connect(self.target.destination, proposal, watch=self.watch).release()

    # What it takes of what it shall get

    def _refusals(self, rows: list[InstanceRow]) -> dict[str, str]:
        """Propose what `rows` need and return why the destination does not take some, by SOP Instance UID."""
        found = {}
        for proposal, indexes in associations(rows, self.rendition):
            association = self.outbound.connect(self.target.destination, proposal, watch=self.watch)
            association.release()
            self.present()
            for row in (rows[index] for index in indexes):
                accepted = association.accepted(row.sop_class)
                if choose(row, accepted, self.rendition) is None:
                    found[row.sop_instance] = refusal(
                        row, accepted, self.rendition, unknown=association.unknown(row.sop_class)
                    )
        return found
