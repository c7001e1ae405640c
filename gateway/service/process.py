"""A child process of the box: forked without exec, so that it shares the memory of everything imported."""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.observe import LOGGER

if TYPE_CHECKING:
    from gateway.service.liveness import Pulse

# Asks a child where each of its threads is; the answer goes to stderr.
WHERE = signal.SIGUSR1

# Longest time until a process that waits notices that it shall stop.
_NAP = 0.1


class Stop(threading.Event):
    """Whether this process shall end; SIGTERM sets it."""

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until the end is asked for, at most `timeout` seconds; return whether it was.

        Looks again and again: the event's own lock must not be held here while the signal handler wants it.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not self.is_set() and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _NAP))
        return self.is_set()


@dataclass(frozen=True)
class Role:
    """What a child does.

    Attributes
    ----------
    name : str
        For the log and for the list of processes.
    main : callable
        Does it, until the `Stop` it is given says so.
    niceness : int
        Added to the priority number of the process.
    on_death : callable
        Called in the parent when a process of this role has ended.
    pulses : tuple of Pulse
        Signs of life of its threads.
    """

    name: str
    main: Callable[[Stop], None]
    niceness: int = 0
    on_death: Callable[[], None] = lambda: None
    pulses: tuple[Pulse, ...] = ()


class Lifeline:
    """A pipe whose write end only the parent holds: its end of file says that the parent is gone, however it went."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def hold(self) -> None:
        """In a child: end this process as soon as the parent is gone."""
        os.close(self._write)
        threading.Thread(target=self._die_with_parent, name="lifeline", daemon=True).start()

    def _die_with_parent(self) -> None:
        os.read(self._read, 1)
        os._exit(1)


def fork(role: Role, lifeline: Lifeline) -> int:
    """Start a process for `role` and return its id.

    The caller must be without threads: what a thread holds at this moment stays held in the child for ever.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _run(role, lifeline)
        code = 0
    except BaseException:  # whatever it was, this process must not return into the parent's code
        LOGGER.exception("%s ended", role.name)
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run(role: Role, lifeline: Lifeline) -> None:
    stop = Stop()
    # The parent passes SIGTERM on; a terminal sends SIGINT and SIGHUP to the children as well, who leave them to it.
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    faulthandler.register(WHERE)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    lifeline.hold()
    os.nice(role.niceness)
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(f"gateway-{role.name}"[:15])
    role.main(stop)
