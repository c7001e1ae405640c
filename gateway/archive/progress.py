"""How far each intake process is with registering what it has acknowledged: whoever reads the index can wait for it.

An object is answered when it is durable; the index gets to know it a moment later. A peer that asks after that, in
whatever process, is to find what it has sent.
"""

from __future__ import annotations

import mmap
import struct
import time

# Acknowledged, registered, wanted.
_COUNT = struct.Struct("q")
_COUNTERS = 3

# How often a reader looks.
_LOOK = 0.002


class Progress:
    """How many objects each worker has acknowledged and registered, in memory that all forks of the creator share.

    A worker changes only its own counters; they only grow. Whoever waits for some of them says for how many.

    Parameters
    ----------
    workers : int
        Number of intake processes.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._memory = mmap.mmap(-1, workers * _COUNTERS * _COUNT.size)

    def acknowledged(self, worker: int) -> int:
        """Return how many objects a worker has acknowledged."""
        return self._get(worker, 0)

    def registered(self, worker: int) -> int:
        """Return how many of them, the oldest, the index knows."""
        return self._get(worker, 1)

    def wanted(self, worker: int) -> bool:
        """Tell whether somebody waits for what a worker has not registered."""
        return self._get(worker, 2) > self.registered(worker)

    def acknowledge(self, worker: int, count: int) -> None:
        """Note how many objects `worker` has acknowledged, before the last of them is answered."""
        self._set(worker, 0, count)

    def register(self, worker: int, count: int) -> None:
        """Note how many of them the index knows."""
        self._set(worker, 1, count)

    def clear(self, worker: int) -> None:
        """Note that recovery has taken care of what a worker that has died had acknowledged."""
        self.register(worker, self.acknowledged(worker))

    def wait(self, seconds: float) -> bool:
        """Wait until the index knows all that has been acknowledged by now; False if it takes longer than `seconds`."""
        behind = {worker: self.acknowledged(worker) for worker in range(self.workers)}
        deadline = time.monotonic() + seconds
        while behind := {worker: count for worker, count in behind.items() if self.registered(worker) < count}:
            if time.monotonic() > deadline:
                return False
            for worker, count in behind.items():
                self._set(worker, 2, count)
            time.sleep(_LOOK)
        return True

    def _get(self, worker: int, counter: int) -> int:
        return _COUNT.unpack_from(self._memory, (worker * _COUNTERS + counter) * _COUNT.size)[0]

    def _set(self, worker: int, counter: int, count: int) -> None:
        _COUNT.pack_into(self._memory, (worker * _COUNTERS + counter) * _COUNT.size, count)
