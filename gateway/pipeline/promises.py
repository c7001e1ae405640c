"""Keeps what the box was asked to promise: finds out about every reference, and tells who has asked (PS3.4 annex J).

Two threads beside the deliveries: one looks into the requests, one calls the requesters, so that one who is not there
delays nobody's judgement. Both may be killed at any point; what is there afterwards is gone on with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from gateway.archive.index import Archive
from gateway.archive.promises import NO_ADDRESS, OPEN, READY, Promise, Verdict
from gateway.errors import NetworkError
from gateway.observe import LOGGER, event, fault, warning
from gateway.pipeline.judgement import Judge, Terms, Waiting
from gateway.pipeline.retry import Backoff
from gateway.retrieval.engine import Destination
from gateway.standard.commitment import PROCESSING_FAILURE

# How long a stop, a request or an answer may go unnoticed.
POLL = 0.2
# Pause after a trouble of our own.
TROUBLE = 2.0

# Seconds between two looks at a request: short while somebody may still be waiting, longer with its age.
FIRST_LOOK, LONGEST_LOOK, SHARE_OF_AGE = 0.3, 30.0, 0.05

# Seconds for which the answer is given by one thread.
LEASE = 180.0

# Seconds for which a Transaction UID is remembered, and between two times of forgetting.
REMEMBERED = 366 * 86400.0
FORGETTING = 3600.0


class Response(Protocol):
    """What a requester says to an answer; in words it is why it does not take it."""

    @property
    def done(self) -> bool:
        """Whether it has taken the answer."""
        ...


class Reporter(Protocol):
    """Whoever can bring an answer to a requester."""

    def report(
        self, destination: Destination, promise: Promise, archive: Archive, *, watch: Callable[[], None] | None = None
    ) -> Response:
        """Give the answer on an association of its own and return the response of the requester.

        Raises `NetworkError` with the reason in plain words. `watch` is called about once a second while it waits; what
        it raises comes through.
        """
        ...


@dataclass(frozen=True)
class PromisePolicy:
    """How requests for storage commitment are dealt with.

    Attributes
    ----------
    terms : Terms
        On which the box commits.
    addresses : mapping of str to Destination
        Where requesters can be called, by AE title.
    patience : float
        Seconds after which what is not safe is reported as failed.
    persistence : float
        Seconds for which an answer that nobody takes is tried again.
    backoff : Backoff
        Delay between these attempts.
    """

    terms: Terms = field(default_factory=Terms)
    addresses: Mapping[str, Destination] = field(default_factory=dict)
    patience: float = 86400.0
    persistence: float = 7 * 86400.0
    backoff: Backoff = field(default_factory=Backoff)


class _Stopped(Exception):
    """The box ends."""


class _Worker:
    """A loop that ends with its process.

    Parameters
    ----------
    archive : Archive
        Of this process.
    policy : PromisePolicy
        See there.
    reporter : Reporter
        Brings the answers.
    stop : callable
        Whether this process shall end.
    """

    name = ""

    def __init__(
        self,
        archive: Archive,
        policy: PromisePolicy,
        reporter: Reporter,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.archive = archive
        self.promises = archive.promises
        self.clock = archive.clock
        self.policy = policy
        self.reporter = reporter
        self.stop = stop
        self._forgotten = -FORGETTING

    def run(self) -> None:
        """Work until this process shall end."""
        while not self.stop():
            try:
                if not self.step():
                    time.sleep(POLL)
            except Exception:  # the index is locked or the disk is full: not for ever
                LOGGER.exception("%s", self.name)
                time.sleep(TROUBLE)

    def step(self) -> bool:
        """Do what is due; False if nothing is."""
        raise NotImplementedError


class Examiner(_Worker):
    """Looks into the requests; see `Judge`."""

    name = "storage commitment"

    def step(self) -> bool:
        """Look into every request that is due."""
        due = self.promises.due(OPEN)
        for promise in due:
            if self.stop():
                break
            try:
                self._examine(promise)
            except Exception as error:  # one request must not stand in the way of others
                LOGGER.exception("storage commitment %s of %s", promise.transaction, promise.requester)
                reason = f"internal error: {error}"
                self.promises.look_again(promise, self.clock.now() + LONGEST_LOOK, reason)
        return bool(due)

    def _examine(self, promise: Promise) -> None:
        now = self.clock.now()
        late = now >= promise.asked_at + self.policy.patience
        judge = Judge(self.archive, self.policy.terms, promise.called)
        waiting = 0
        reason = ""
        for references in self.promises.undecided(promise):
            verdicts: dict[int, Verdict] = {}
            for reference, found in judge.judge(references):
                if isinstance(found, Waiting) and not late:
                    waiting += 1
                    reason = reason or found.reason
                    continue
                if isinstance(found, Waiting):
                    hours = self.policy.patience / 3600
                    found = Verdict(PROCESSING_FAILURE, f"not safe after {hours:g} hours: {found.reason}")
                verdicts[reference.position] = found
            if verdicts:
                self.promises.decide(promise, verdicts)
        fault("promise.decided")
        if waiting:
            pause = min(LONGEST_LOOK, max(FIRST_LOOK, SHARE_OF_AGE * (now - promise.asked_at)))
            due = min(now + pause, promise.asked_at + self.policy.patience)
            self.promises.look_again(promise, due, f"{waiting} of {promise.references} wait: the first {reason}")
            return
        self.promises.settle(promise)
        self._tell(promise)

    def _tell(self, promise: Promise) -> None:
        """Log what was found."""
        known = self.promises.get(promise) or promise
        fields: dict[str, Any] = {
            "peer": promise.requester,
            "transaction": promise.transaction,
            "committed": known.committed,
        }
        if not known.failed:
            event("promise.ready", **fields)
            return
        first = next(self.promises.answer(promise))  # failed ones come first
        warning("promise.failed", failed=known.failed, first=first.sop_instance, reason=first.reason, **fields)


class Teller(_Worker):
    """Calls the requesters whose answer was not given on their own association."""

    name = "answers to storage commitment"

    def run(self) -> None:
        """Work until this process shall end; what was held may have got an address."""
        self.promises.release_held()
        super().run()

    def step(self) -> bool:
        """Give one answer that is due."""
        self._housekeeping()
        for promise in self.promises.due(READY):
            address = self.policy.addresses.get(promise.requester)
            if address is None:
                reason = f"{promise.requester} {NO_ADDRESS}"
                warning("promise.held", peer=promise.requester, transaction=promise.transaction, reason=reason)
                self.promises.hold(promise, reason)
            elif self.promises.keep(promise, self.clock.now() + LEASE):
                # Each application entity of the box answers what it was asked itself (J.3.3.1.2 note 2).
                self._give(promise, replace(address, calling_ae=promise.called))
                return True
        return False

    def _give(self, promise: Promise, address: Destination) -> None:
        try:
            fault("promise.before_answer")
            answer = self.reporter.report(address, promise, self.archive, watch=self._watch)
            fault("promise.after_answer")
        except _Stopped:
            self.promises.leave(promise)
            return
        except NetworkError as error:
            self._vain(promise, error.problem)
            return
        except Exception as error:  # this answer must not keep the others
            LOGGER.exception("answer to %s for %s", promise.requester, promise.transaction)
            self._vain(promise, f"internal error: {error}")
            return
        if not answer.done:
            self._vain(promise, f"the answer was not taken: {answer}")
            return
        self.promises.answered(promise, "on a new association")
        self.promises.hurry(promise)

    def _watch(self) -> None:
        """Called about once a second while something is waited for."""
        if self.stop():
            raise _Stopped

    def _vain(self, promise: Promise, reason: str) -> None:
        delay = self.policy.backoff.delay(promise.attempts + 1)
        due = self.clock.now() + delay
        warning(
            "promise.retry",
            peer=promise.requester,
            transaction=promise.transaction,
            reason=reason,
            attempts=promise.attempts + 1,
            again_in=round(delay, 1),
        )
        self.promises.retry(promise, reason, due)
        self.promises.postpone(promise, reason, due)

    def _housekeeping(self) -> None:
        """Give up what nobody has taken for days, and forget what was long ago; once an hour."""
        if self.clock.monotonic() - self._forgotten < FORGETTING:
            return
        self._forgotten = self.clock.monotonic()
        now = self.clock.now()
        for promise in self.promises.unanswered(now - self.policy.patience - self.policy.persistence):
            warning(
                "promise.given_up",
                peer=promise.requester,
                transaction=promise.transaction,
                reason=promise.reason,
                remedy=f"check host and port of {promise.requester}; what it asked for has to be asked again",
            )
            self.promises.give_up(promise)
        self.promises.forget(now - REMEMBERED)
