"""One limit on associations for all intake processes together."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

_COUNT = struct.Struct("i")


class Slots:
    """A counter for each worker in memory that all forks of the creator share.

    A worker changes only its own counter, so the parent can take back what a dead worker held.

    Parameters
    ----------
    workers : int
        Number of intake processes.
    limit : int
        Associations allowed at a time, all workers together.
    """

    def __init__(self, workers: int, limit: int) -> None:
        self.workers = workers
        self.limit = limit
        self._descriptor = os.memfd_create("slots")
        self._close = weakref.finalize(self, os.close, self._descriptor)
        os.ftruncate(self._descriptor, workers * _COUNT.size)
        self._counts = mmap.mmap(self._descriptor, workers * _COUNT.size)
        # A record lock excludes processes but not threads, and the kernel lets go of it when a process is killed.
        self._lock = threading.Lock()

    def take(self, worker: int) -> bool:
        """Take a slot for `worker`; False if the limit is reached."""
        with self._locked():
            if sum(self._all()) >= self.limit:
                return False
            self._set(worker, self._all()[worker] + 1)
            return True

    def give(self, worker: int) -> None:
        """Give back a slot that `worker` has taken."""
        with self._locked():
            self._set(worker, self._all()[worker] - 1)

    def clear(self, worker: int) -> None:
        """Take back all slots of a worker that has died."""
        with self._locked():
            self._set(worker, 0)

    def used(self) -> int:
        """Return the number of associations at the moment."""
        with self._locked():
            return sum(self._all())

    def close(self) -> None:
        """Give the memory back, in this process."""
        self._counts.close()
        self._close()

    def _all(self) -> list[int]:
        return [count for (count,) in _COUNT.iter_unpack(self._counts[:])]

    def _set(self, worker: int, count: int) -> None:
        _COUNT.pack_into(self._counts, worker * _COUNT.size, count)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
