"""Asks the destinations for storage commitment of what they have taken (PS3.4 annex J).

A destination answers at once, on the same association, or days later on one that it opens itself; or never, or in part.
Whatever the answer does not say is committed is asked for again, under another Transaction UID and less often every
time; what the destination says it does not have is delivered again first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydicom.uid import ImplicitVRLittleEndian

from gateway.archive.commitments import NOT_ANSWERED, Transaction
from gateway.archive.custody import ASKED, COMMITTED, DELIVERED, REFUSED, Standing
from gateway.archive.index import Archive
from gateway.archive.jobs import COMMIT, DELIVER, Job
from gateway.archive.rows import InstanceRow
from gateway.errors import NetworkError
from gateway.network.commitment_lists import Reference, action_information
from gateway.network.normalized import NormalizedAssociation, NotTaken
from gateway.network.requestor import Timeouts
from gateway.network.results import take_result
from gateway.observe import event, fault, warning
from gateway.pipeline.retry import Backoff
from gateway.pipeline.visits import Held, Stopped, Target, Visits, due_to
from gateway.standard.commitment import (
    NO_SUCH_OBJECT,
    REFERENCED_PIXELS,
    REQUEST_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
    STORAGE_COMMITMENT_PUSH,
)

DAY = 86400.0

# Follows the AE title in the reason of jobs that are held.
LOST = "has lost"


@dataclass(frozen=True)
class Patience:
    """How long answers may take, and how often is asked.

    Attributes
    ----------
    stay : float
        Seconds on the association of the request, for destinations that answer at once.
    answer : Backoff
        How long an answer may take before the same is asked for again. Archives that verify against tape take hours.
    refused : Backoff
        Pause before what was refused is asked for again.
    seldom : float
        Pause before a destination that does not take the SOP class is tried again.
    most : int
        References in one transaction.
    deliveries : int
        How often an instance is delivered again that the destination says it does not have.
    """

    stay: float = 5.0
    answer: Backoff = field(default_factory=lambda: Backoff(first=3600, longest=DAY, spread=0))
    refused: Backoff = field(default_factory=lambda: Backoff(first=300, longest=DAY / 4, spread=0))
    seldom: float = DAY / 4
    most: int = 1000
    deliveries: int = 3


class _State(NamedTuple):
    """What of a study stands how, at one destination."""

    fresh: list[InstanceRow]  # nobody has been asked for it
    asked: list[InstanceRow]
    refused: list[InstanceRow]
    lost: list[InstanceRow]  # refused, because the destination does not have it
    excluded: list[InstanceRow]
    committed: int
    reason: str


class Committer(Visits):
    """Works off the requests for storage commitment to one destination.

    Parameters
    ----------
    archive, target, backoff, stop, grace
        See `Visits`.
    patience : Patience
        How long answers may take.
    timeouts : Timeouts
        Limits of the waits on an association.
    """

    KIND = COMMIT

    def __init__(
        self,
        archive: Archive,
        target: Target,
        *,
        patience: Patience = Patience(),
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
        stop: Callable[[], bool] = lambda: False,
        grace: float = 5.0,
    ) -> None:
        super().__init__(archive, target, backoff=backoff, stop=stop, grace=grace)
        self.commitments = archive.commitments
        self.patience = patience
        self.timeouts = timeouts
        self._not_taken = ""
        self._look_again = 0.0  # when to look for what nobody has been asked for: at the start, and seldom

    def step(self) -> bool:
        """Work on one job that is due; False if none is."""
        if self.clock.now() >= self._look_again:
            self._look_again = self.clock.now() + self.patience.seldom
            self._not_taken = ""
            for study in self.commitments.unasked(self.target.name):
                self.jobs.schedule(COMMIT, study, self.target.name)
        return super().step()

    def work(self, job: Job) -> None:
        """Bring the commitment for a study forward, as far as it comes today."""
        study, name = job.study, self.target.name
        overdue = self._give_up(job)
        if job.reason.startswith(f"{name} {LOST}"):  # somebody has looked, or more of the study has come
            self.commitments.forgive(study, name)
        state = self._state(study)
        self.commitments.exclude(study, name, state.excluded)
        again = state.refused if self._due(job, state) else []
        attempts = job.attempts + bool(overdue or again)
        if state.fresh or again:
            self._ask(job, [*state.fresh, *again])
        self._conclude(job, attempts)

    # How it stands

    def _state(self, study: str) -> _State:
        decision = self.custody.decision(study, self.target.name)
        # Without a decision both forms of the study are the same.
        rows = due_to(self.archive, self.target, study, decision.view if decision else self.target.view)
        standing = self.custody.standing(study, self.target.name)
        state = _State([], [], [], [], [], 0, "")
        committed, reason = 0, ""
        for row in rows:
            known = standing.get(row.sop_instance)
            if known is None or known.digest != row.digest or not _has(known):
                continue
            if row.transfer_syntax in REFERENCED_PIXELS:
                state.excluded.append(row)
            elif known.commitment == COMMITTED:
                committed += 1
            elif known.commitment == ASKED:
                state.asked.append(row)
            elif known.commitment == REFUSED:
                (state.lost if known.failure == NO_SUCH_OBJECT else state.refused).append(row)
                reason = reason or known.reason
            else:
                state.fresh.append(row)
        return state._replace(committed=committed, reason=reason)

    def _due(self, job: Job, state: _State) -> bool:
        """Whether what was refused is to be asked for again now."""
        due = self._refused_at(job) + self._pause(job.attempts)
        return bool(state.refused) and (job.hurried or self.clock.now() >= due)

    def _refused_at(self, job: Job) -> float:
        standing = self.custody.standing(job.study, self.target.name)
        return max((one.at for one in standing.values() if one.commitment == REFUSED), default=0.0)

    def _pause(self, attempts: int) -> float:
        return self.patience.refused.delay(attempts + 1)

    def _deadline(self, transaction: Transaction, attempts: int) -> float:
        return transaction.asked_at + self.patience.answer.delay(attempts + 1)

    def put_back(self, job: Job, reason: str, not_before: float) -> None:
        """Have a job wait; its attempts are the requests that did not lead to a commitment."""
        self.jobs.put_off(job, reason, not_before, job.attempts)

    # What is done about it

    def _give_up(self, job: Job) -> int:
        """Wait no longer for what has not been answered in time, or is to be asked for now; return how much it is."""
        instances = 0
        for transaction in self.commitments.open(job.study, self.target.name):
            if job.hurried or self.clock.now() >= self._deadline(transaction, job.attempts):
                count = self.commitments.give_up(transaction)
                warning(
                    "commit.unanswered",
                    study=job.study,
                    destination=self.target.name,
                    transaction=transaction.uid,
                    instances=count,
                )
                instances += count
        return instances

    def _deliver_again(self, job: Job, state: _State) -> _State:
        """Have delivered again what the destination does not have, and return what else there is; this has an end."""
        name = self.target.name
        count = self.commitments.deliver_again(job.study, name, self.patience.deliveries)
        if count:
            reason = f"{name} does not have {count} instances that it had taken"
            warning("commit.lost", study=job.study, destination=name, instances=count, reason=state.reason)
            self.jobs.schedule(DELIVER, job.study, name, reason=reason)
        return self._state(job.study)

    def _ask(self, job: Job, rows: Sequence[InstanceRow]) -> None:
        """Ask for `rows`, each transaction on an association of its own: an answer must not meet the next request."""
        for start in range(0, len(rows), self.patience.most):
            if self.stop():
                raise Stopped
            if not self._not_taken:
                self._transact(job.study, rows[start : start + self.patience.most])
        if self._not_taken:
            self.commitments.renounce(job.study, self.target.name, self._not_taken)

    def _transact(self, study: str, rows: Sequence[InstanceRow]) -> None:
        """Ask for some instances and wait a little for the answer."""
        try:
            association = NormalizedAssociation(
                self.target.destination, STORAGE_COMMITMENT_PUSH, timeouts=self.timeouts, watch=self.watch
            )
        except NotTaken as error:
            self._not_taken = error.problem
            warning("commit.not_taken", destination=self.target.name, reason=error.problem)
            self.present()
            return
        try:
            transaction = self._request(association, study, rows)
            self.present()  # not before: there are some who take the association and break off at the request
            self._stay(association, transaction)
        except BaseException:
            association.abort()
            raise
        association.release()

    def _request(self, association: NormalizedAssociation, study: str, rows: Sequence[InstanceRow]) -> Transaction:
        transaction = self.commitments.ask(study, self.target.name, rows)
        fault("commit.before_request")
        references = [Reference(row.sop_class, row.sop_instance) for row in rows]
        information = action_information(transaction.uid, references)
        try:
            answer = association.action(STORAGE_COMMITMENT_INSTANCE, REQUEST_COMMITMENT, information)
        except NetworkError:  # it may have the request or not
            self.commitments.give_up(transaction)
            raise
        fault("commit.after_request")
        fields: dict[str, Any] = {"study": study, "destination": self.target.name, "transaction": transaction.uid}
        if answer.done:
            event("commit.asked", **fields, instances=len(rows))
        else:
            warning("commit.refused", instances=len(rows), status=f"{answer.status:04X}", reason=answer, **fields)
            self.commitments.withdraw(transaction, f"{self.target.name} refuses the request: {answer}")
        return transaction

    def _stay(self, association: NormalizedAssociation, transaction: Transaction) -> None:
        """Take the result if it comes on the same association."""
        until = time.monotonic() + self.patience.stay
        while self.commitments.is_open(transaction) and (left := until - time.monotonic()) > 0:
            if self.stop():
                return
            try:
                notification = association.notification(min(left, 0.2))
                if notification is not None:
                    answer = take_result(self.archive, self.target.name, notification, ImplicitVRLittleEndian)
                    association.answer(notification, answer)
            except NetworkError as error:  # it may release the association: the answer comes on another one
                event("commit.left", logging.DEBUG, destination=self.target.name, reason=error.problem)
                return

    def _conclude(self, job: Job, attempts: int) -> None:
        """Say what the job waits for now, or that it waits for nothing."""
        self.jobs.noticed(job)
        state = self._state(job.study)
        if state.lost:
            state = self._deliver_again(job, state)
        now, name = self.clock.now(), self.target.name
        times = [self._deadline(one, attempts) for one in self.commitments.open(job.study, name)]
        waiting = []
        if state.asked:
            waiting.append(f"{name} has been asked to commit to {len(state.asked)} instances and has not answered")
        if state.refused:
            times.append(self._refused_at(job) + self._pause(attempts))
            waiting.append(f"{name} does not commit to {len(state.refused)} instances: {state.reason}")
        if state.fresh and not self._not_taken:  # the request was refused as a whole
            times.append(now + self._pause(attempts))
            standing = self.custody.standing(job.study, name)
            waiting.append(standing[state.fresh[0].sop_instance].reason or NOT_ANSWERED)
            attempts += 1
        if waiting:
            self.jobs.put_off(job, "; ".join(waiting), max(now, min(times, default=now)), attempts)
        elif state.lost:
            tried = f"{len(state.lost)} instances, {self.patience.deliveries} more deliveries did not help"
            raise Held(f"{name} {LOST} {tried}: {state.reason}")
        else:
            self.jobs.finish(job)
            if state.committed:
                excluded = len(state.excluded) or None
                event("commit.done", study=job.study, destination=name, instances=state.committed, excluded=excluded)


def _has(known: Standing) -> bool:
    """Whether the destination has taken the instance."""
    return known.state in (DELIVERED, COMMITTED) or known.state == known.commitment == REFUSED
