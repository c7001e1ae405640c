"""Digests of long streams, computed beside what else is done with the bytes."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

# Pieces that may wait: what is digested later is held in memory until then.
_WAITING = 4


class Digest:
    """blake2b-128 of bytes that are handed over piece by piece; hashing leaves the interpreter to others.

    To be used as a context manager, or ended by `hexdigest`.
    """

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)
        self._worker = ThreadPoolExecutor(1, "digest")
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> Digest:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._worker.shutdown()

    def update(self, piece: bytes) -> None:
        """Take in bytes that nobody changes any more."""
        self._pending.append(self._worker.submit(self._digest.update, piece))
        if len(self._pending) > _WAITING:
            self._pending.popleft().result()

    def hexdigest(self) -> str:
        """Return the digest of everything so far."""
        while self._pending:
            self._pending.popleft().result()
        return self._digest.hexdigest()
