"""Keeps the child processes of the box alive, replaces them when the configuration has changed, and ends them in order.

The service manager hears a sign of life only while every worker gives one: it restarts a box in which one is stuck.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gateway.observe import event
from gateway.pipeline.retry import Backoff
from gateway.service import sd
from gateway.service.process import WHERE, Lifeline, Role, fork

STOP_SIGNALS = frozenset((signal.SIGTERM, signal.SIGINT))
RELOAD = signal.SIGHUP
SIGNALS = STOP_SIGNALS | {RELOAD, signal.SIGCHLD}

# How often the signs of life are looked at when no service manager waits for the outcome.
_LOOK = 10.0
# A child that has lived this long did not die of what killed the one before.
_SETTLED = 60.0
# So many deaths in a row are no accident any more.
_WORRYING = 3

# Gives the roles of a new configuration.
Reload = Callable[[], Sequence[Role]]


@dataclass
class _Child:
    role: Role
    pid: int = 0
    born: float = 0.0
    deaths: int = 0
    due: float = field(default_factory=time.monotonic)


class Keeper:
    """The parent's work: forks, waits for signals, forks again what has died.

    Parameters
    ----------
    roles : sequence of Role
        One child each, ended in this order.
    grace : float
        Seconds that the children have for their ends.
    backoff : Backoff
        Delay before a child that has died is forked again.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        grace: float = 20.0,
        backoff: Backoff = Backoff(first=0.1, longest=30.0),  # noqa: B008 - frozen
    ) -> None:
        self._children = [_Child(role) for role in roles]
        self._stuck: set[str] = set()
        self._lifeline = Lifeline()
        self._grace = grace
        self._backoff = backoff

    def run(
        self,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
        on_reload: Callable[[], Reload | None] = lambda: None,
    ) -> None:
        """Run the children until a signal asks for the end, and return when all have ended.

        Parameters
        ----------
        on_ready : callable
            Called when all children have been forked, after a reload again.
        on_stop : callable
            Called before the children are told to end.
        on_reload : callable
            Called at SIGHUP. Returns what gives the new roles once the present children have ended; None lets them be.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._fork_due()
        on_ready()
        while (got := self._wait(self._patience())) not in STOP_SIGNALS:
            if got == RELOAD and self._reload(on_ready, on_reload):
                break
            for child, code in self._ended():
                self._mourn(child, code)
            self._fork_due()
            self._show_life()
        on_stop()
        self._end(got in STOP_SIGNALS)

    def _reload(self, on_ready: Callable[[], None], on_reload: Callable[[], Reload | None]) -> bool:
        """Replace the children by those of new roles; True if the end was asked for meanwhile."""
        sd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        roles = on_reload()
        if roles is None:
            sd.notify("READY=1")
            return False
        if self._end(False):
            return True
        self._children = [_Child(role) for role in roles()]
        self._fork_due()
        on_ready()
        return False

    def _show_life(self) -> None:
        """Tell the service manager that all is well, or the log what is not."""
        stuck = {pulse.name: child for child in self._children for pulse in child.role.pulses if pulse.stuck}
        for name in stuck.keys() - self._stuck:
            event("worker.stuck", logging.ERROR, worker=name, process=stuck[name].pid)
            os.kill(stuck[name].pid, WHERE)
        for name in self._stuck - stuck.keys():
            event("worker.moves_again", worker=name)
        self._stuck = set(stuck)
        if not stuck:
            sd.notify("WATCHDOG=1")

    def _fork_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not child.pid and child.due <= now:
                for pulse in child.role.pulses:
                    pulse.beat()
                child.pid, child.born = fork(child.role, self._lifeline), now

    def _patience(self) -> float:
        """Seconds until there is something to do without a signal."""
        waits = [child.due - time.monotonic() for child in self._children if not child.pid]
        waits.append(min(sd.watchdog_seconds() or _LOOK, _LOOK))
        return max(0.0, min(waits))

    def _wait(self, seconds: float) -> int | None:
        got = signal.sigtimedwait(SIGNALS, seconds)
        return got.si_signo if got else None

    def _ended(self) -> Iterator[tuple[_Child, int]]:
        """Yield the children that have ended with their exit codes, negative for a signal."""
        for child in self._children:
            if child.pid:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    child.pid = 0
                    for pulse in child.role.pulses:
                        pulse.clear()
                    child.role.on_death()
                    yield child, os.waitstatus_to_exitcode(status)

    def _mourn(self, child: _Child, code: int) -> None:
        """Decide when a child that has died is forked again: soon, and later each time."""
        now = time.monotonic()
        child.deaths = 1 if now - child.born > _SETTLED else child.deaths + 1
        delay = self._backoff.delay(child.deaths)
        child.due = now + delay
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        level = logging.ERROR if child.deaths >= _WORRYING else logging.WARNING
        event("process.died", level, role=child.role.name, cause=cause, deaths=child.deaths, again_in=round(delay, 1))

    def _end(self, asked: bool) -> bool:
        """Ask all children to end; insist after the grace, or when the end of the box is asked for a second time.

        Parameters
        ----------
        asked : bool
            Whether it has been asked for already.

        Returns
        -------
        bool
            Whether it has been now.
        """
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + self._grace
        while any(child.pid for child in self._children):
            stop = self._wait(max(0.0, deadline - time.monotonic())) in STOP_SIGNALS
            for child, code in self._ended():
                event("process.ended", role=child.role.name, code=code)
            if (stop and asked) or time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
                deadline = time.monotonic() + self._grace
            asked = asked or stop
        return asked

    def _signal(self, number: int) -> None:
        for child in self._children:
            if child.pid:
                os.kill(child.pid, number)
