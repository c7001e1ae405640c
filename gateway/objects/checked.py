"""Data sets whose last bytes are handed over only once all of them are known to be those that were stored.

A disk may give back other bytes than it was given. Whoever sends an object cannot take back what has gone out, but the
receiver has no object before it has the last byte: that one stays here until the digest of the whole is the known one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.errors import DamagedError, GatewayError
from gateway.objects.digest import Digest
from gateway.objects.stream import CHUNK, ByteSource

# Why a stream is not handed over to its end.
OTHER_BYTES = "its bytes are not those that were stored"


def damaged(subject: str, reason: str) -> DamagedError:
    """Return the error of a copy that is not what was stored."""
    return DamagedError(subject, f"is damaged: {reason}")


class Checked:
    """The bytes of a data set, compared while they pass with the digest that is known of it.

    Parameters
    ----------
    source : ByteSource
        The data set.
    digest : str
        BLAKE3-128 of it, in hexadecimal.
    length : int
        Number of its bytes.
    explain : callable
        Given why the stream is not right, returns the error to raise: one that names the file.

    Attributes
    ----------
    length : int
        Number of bytes.
    """

    def __init__(
        self, source: ByteSource, digest: str, length: int, explain: Callable[[str], GatewayError | OSError]
    ) -> None:
        self.length = length
        self._source = source
        self._digest = digest
        self._explain = explain

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most `size`, the last one when all are right.

        Raises
        ------
        DamagedError
            If they are not, or cannot be read; the last piece has not been handed over then.
        """
        digest = Digest()
        count = 0
        held: bytes | None = None
        try:
            for piece in self._source.chunks(size):
                digest.update(piece)
                count += len(piece)
                if held is not None:
                    yield held
                held = piece
        except FileNotFoundError:  # files move once; who reads looks for it again
            raise
        except (GatewayError, OSError) as error:
            raise self._explain(str(error)) from error
        if count != self.length or digest.hexdigest() != self._digest:
            raise self._explain(OTHER_BYTES)
        if held is not None:
            yield held
