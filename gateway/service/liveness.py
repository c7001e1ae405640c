"""Signs of life: each worker shows that it still turns its loop, the parent sees which has fallen silent.

A process that runs is not one that works: a thread may hang in a system call or wait for a lock that nobody lets go of.
"""

from __future__ import annotations

import mmap
import struct
import time

from gateway.service.process import Stop

_TIME = struct.Struct("d")


class Pulse:
    """When a worker was last seen alive, in memory that it shares with its parent.

    Made before the fork. The monotonic clock is the same in all processes of a machine.

    Parameters
    ----------
    name : str
        The worker, for the log.
    allowance : float
        Seconds of silence that its longest piece of work may take.
    """

    def __init__(self, name: str, allowance: float) -> None:
        self.name = name
        self.allowance = allowance
        self._memory = mmap.mmap(-1, _TIME.size)

    def beat(self) -> None:
        """Show that the worker is alive."""
        _TIME.pack_into(self._memory, 0, time.monotonic())

    def clear(self) -> None:
        """Expect nothing of a worker that has ended."""
        _TIME.pack_into(self._memory, 0, 0.0)

    def silence(self) -> float:
        """Return the seconds since the last sign of life; 0 of a worker of which none is expected."""
        (last,) = _TIME.unpack_from(self._memory)
        return time.monotonic() - last if last else 0.0

    @property
    def stuck(self) -> bool:
        """Whether the silence is longer than any work would explain."""
        return self.silence() > self.allowance


class Watched(Stop):
    """A `Stop` for one thread: whoever asks whether to end shows that it is alive.

    Parameters
    ----------
    stop : Stop
        Of the process.
    pulse : Pulse
        Of the thread.
    """

    def __init__(self, stop: Stop, pulse: Pulse) -> None:
        super().__init__()
        self._stop = stop
        self._pulse = pulse

    def is_set(self) -> bool:
        """Return whether the process shall end."""
        self._pulse.beat()
        return self._stop.is_set()
