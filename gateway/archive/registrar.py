"""Registers objects that are durable, and acknowledged, in the index: many in one transaction, off the critical path.

An object is safe by its file alone; a recovery takes it in when the process dies before the index knows it. So its
sender need not wait for the index, and what has come while a transaction was under way, or within a moment, shares the
next one: a page of the index that twenty objects change is written to the log once instead of twenty times.

What has been acknowledged is never dropped: what the index refuses is tried again. Since the first failure, until
something has been registered again, an object waits for its registration before it is answered: while the index takes
nothing, nobody is told that the box has taken something.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.archive.admission import Arrival, place, withdraw
from gateway.archive.durable import storage_errors
from gateway.archive.parts import PartFile
from gateway.archive.progress import Progress
from gateway.archive.recovery import REMEDY
from gateway.errors import ResourceError
from gateway.observe import LOGGER, event, fault, warning

if TYPE_CHECKING:
    from gateway.archive.index import Archive

# Seconds from the first object to the transaction, in which others may join it, unless somebody asks; and how often is
# looked whether one does. A sender that waits for each answer sends about thirty in that time.
GATHER = 0.2
LOOK = 0.02
# Objects of a transaction.
MOST_TOGETHER = 64
# Objects, and bytes of their headers, that may wait; then senders wait.
MOST_WAITING = 128
MOST_BYTES = 8 << 20
# Seconds that a sender waits for room, or for the registration of its own object.
PATIENCE = 60.0
# Seconds until something that failed is tried again, doubled each time.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
# Attempts at an object while others can be registered, or while it is refused for what it is.
MOST_ATTEMPTS = 5
# Seconds that one who reads the index waits for it to know what was acknowledged before.
VISIBLE = 5.0


@dataclass
class _Waiting:
    """An object between its file and the index."""

    arrival: Arrival
    part: PartFile
    number: int
    doubtful: bool
    attempts: int = 0
    done: bool = False
    error: Exception | None = None
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def bytes(self) -> int:
        header = self.arrival.header
        return (header.pixels.offset if header.pixels else header.size) - header.dataset_offset

    def end(self, error: Exception | None = None) -> None:
        self.done, self.error = True, error
        self.part.release()
        self.over.set()


class Registrar:
    """The thread of an intake process that registers what the process has received.

    Parameters
    ----------
    archive : Archive
        Opened in this process.
    progress : Progress, optional
        Shared with the other intake processes.
    worker : int
        Which of its counters are this process's.
    """

    def __init__(self, archive: Archive, progress: Progress | None = None, worker: int = 0) -> None:
        self.archive = archive
        self._progress = progress or Progress()
        self._worker = worker
        self._taken = self._progress.acknowledged(worker)
        self._queue: list[_Waiting] = []
        self._changed = threading.Condition()
        self._failing = False
        self._pause = FIRST_PAUSE
        self._closing = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="registrar", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def take(self, arrival: Arrival, part: PartFile) -> None:
        """Take a durable object that is acknowledged when this returns.

        Parameters
        ----------
        arrival : Arrival
            What it is.
        part : PartFile
            Its file, committed and held.

        Raises
        ------
        ResourceError
            If the index does not take it, or has more to do than it can; nothing is left of the object then.
        Exception
            What else the index has against it, the same.
        """
        waiting = self._enqueue(arrival, part)
        if waiting is not None and not waiting.doubtful:
            return
        if waiting is not None and not waiting.over.wait(PATIENCE):
            # It may still get there; what is sent again is a duplicate then.
            raise self._error("does not answer")
        error = waiting.error if waiting else self._error("has more to take in than it can")
        if error is not None:
            withdraw(self.archive, arrival.name)
            part.release()
            raise error

    def _enqueue(self, arrival: Arrival, part: PartFile) -> _Waiting | None:
        """Queue an object as soon as there is room; None if there is none for too long."""
        with self._changed:
            if not self._changed.wait_for(self._room, PATIENCE) or self._closed:
                return None
            self._taken += 1
            waiting = _Waiting(arrival, part, self._taken, self._failing)
            self._queue.append(waiting)
            self._progress.acknowledge(self._worker, self._taken)
            if waiting.doubtful or len(self._queue) in (1, MOST_TOGETHER):  # nothing else ends a wait
                self._changed.notify_all()
            return waiting

    def _error(self, problem: str) -> ResourceError:
        return ResourceError(str(self.archive.database.path), problem, remedy="see the log of the gateway")

    def _room(self) -> bool:
        return self._closed or (
            len(self._queue) < MOST_WAITING and sum(waiting.bytes for waiting in self._queue) < MOST_BYTES
        )

    def visible(self, seconds: float = VISIBLE) -> bool:
        """Wait until the index knows all that any intake process has acknowledged by now; False if it takes longer."""
        if self._progress.wait(seconds):
            return True
        warning("intake.not_visible", seconds=seconds, reason="the index does not know all that was acknowledged")
        return False

    def close(self, seconds: float = PATIENCE) -> None:
        """Register what waits and end; what cannot be registered stays in the intake folder for the next start."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(seconds)
        with self._changed:
            self._closed = True
            left, self._queue = self._queue, []
            self._changed.notify_all()
        for waiting in left:
            waiting.end(self._error("cannot be written, and the gateway stops"))
        if left:
            warning("intake.left", objects=len(left), remedy="the next start takes them in")

    # The thread

    def _run(self) -> None:
        while batch := self._gather():
            try:
                self._register(batch)
            except Exception:  # the thread goes on whatever happens: what it stands for are promises
                LOGGER.exception("registrar")
                self._failing = True
            self._account()
            if self._failing and self._closing:
                return

    def _gather(self) -> list[_Waiting]:
        """Wait for objects and return those of the next transaction; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if self._failing:
                self._changed.wait_for(lambda: self._closing or any(one.doubtful for one in self._queue), self._pause)
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            else:
                end = time.monotonic() + GATHER
                while not self._enough() and (left := end - time.monotonic()) > 0:
                    self._changed.wait(min(left, LOOK))
            return self._queue[:MOST_TOGETHER]

    def _enough(self) -> bool:
        return self._closing or len(self._queue) >= MOST_TOGETHER or self._progress.wanted(self._worker)

    def _register(self, batch: list[_Waiting]) -> None:
        if self._failing or self._attempt(batch) is not None:
            self._singly(batch)

    def _attempt(self, batch: list[_Waiting]) -> Exception | None:
        """Register objects in one transaction."""
        try:
            with storage_errors(self.archive.database.path):
                fault("registrar.before_commit")
                admissions = place(self.archive, *(waiting.arrival for waiting in batch))
                fault("registrar.after_commit")
        except Exception as error:
            return error
        for waiting, admission in zip(batch, admissions, strict=True):
            waiting.end()
            arrival = waiting.arrival
            event(
                "intake.stored",
                logging.DEBUG,
                peer=arrival.origin.peer,
                study=arrival.header.study,
                instance=arrival.header.sop_instance,
                kind=admission.kind,
            )
        if self._failing:
            event("intake.index_writable")
        self._failing, self._pause = False, FIRST_PAUSE
        return None

    def _singly(self, batch: list[_Waiting]) -> None:
        """Register objects one by one: one that cannot be registered must not keep the others out."""
        failed: list[tuple[_Waiting, Exception]] = []
        uids: set[str] = set()
        registered = 0
        for waiting in batch:
            if waiting.arrival.header.sop_instance in uids:
                continue  # versions come one after the other
            error = self._attempt([waiting])
            registered += error is None
            if error is not None:
                uids.add(waiting.arrival.header.sop_instance)
                failed.append((waiting, error))
                if not registered and len(failed) > 1 and isinstance(error, ResourceError):
                    break  # two in turn: it is the index
        for waiting, error in failed:
            self._failed(waiting, error, short=not registered and isinstance(error, ResourceError))
        if failed and not registered:
            self._fails(failed[-1][1])

    def _failed(self, waiting: _Waiting, error: Exception, *, short: bool) -> None:
        """Note an attempt in vain: the index is `short`, or it is the object."""
        waiting.attempts += not short
        if waiting.doubtful:
            waiting.end(error)
        elif waiting.attempts >= MOST_ATTEMPTS:
            header = waiting.arrival.header
            event(
                "intake.not_registered",
                logging.ERROR,
                file=f"{waiting.arrival.name}.dcm",
                instance=header.sop_instance,
                study=header.study,
                peer=waiting.arrival.origin.peer,
                reason=error,
                remedy=REMEDY,
            )
            waiting.end(error)

    def _fails(self, error: Exception) -> None:
        """Note that the index has taken nothing, and tell those who wait for it."""
        with self._changed:
            if not self._failing:
                warning("intake.index_short", reason=error, remedy="see the reason; nothing acknowledged is lost")
            self._failing = True
            for waiting in self._queue:
                if waiting.doubtful and not waiting.done:
                    waiting.end(error)

    def _account(self) -> None:
        """Forget what is done, and say how far it is."""
        with self._changed:
            self._queue = [waiting for waiting in self._queue if not waiting.done]
            self._progress.register(self._worker, (self._queue[0].number - 1) if self._queue else self._taken)
            self._changed.notify_all()
