"""What tells the contents of two objects apart: BLAKE3, cut to 128 bits.

Every byte that comes in is digested, and every byte of a conversion twice: once as the source's, once as the new
object's. BLAKE3 takes a sixth of the time that BLAKE2b takes on x86-64, and is as hard to forge.
"""

from __future__ import annotations

from blake3 import blake3

BYTES = 16


class Digest:
    """BLAKE3-128 of bytes that are handed over piece by piece."""

    __slots__ = ("_hasher",)

    def __init__(self) -> None:
        self._hasher = blake3(max_threads=1)

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Take in the next bytes; long ones leave the interpreter to other threads."""
        self._hasher.update(piece)

    def digest(self) -> bytes:
        """Return the digest of everything so far."""
        return self._hasher.digest(length=BYTES)

    def hexdigest(self) -> str:
        """Return the digest of everything so far, in hexadecimal."""
        return self._hasher.hexdigest(length=BYTES)
