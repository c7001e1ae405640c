"""Compressed instances for peers that take only native ones (PS3.4 C.4.2.3.1): decoded where nothing can be lost by it.

Of one sample per pixel only, since decoders convert colours. Decoded is by `gateway.archive.decoder`, into a file
without a name: whatever happens, nothing is left of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from gateway.archive.decoder import LONGEST, Decoder, decodable
from gateway.archive.rows import InstanceRow
from gateway.objects.part10 import EXPLICIT_LITTLE, IMPLICIT_LITTLE, file_meta
from gateway.objects.reencode import reencode
from gateway.objects.stream import CHUNK, ByteSource, Outgoing
from gateway.retrieval.rendition import ALTERNATIVES, Rendition, Sources
from gateway.retrieval.transcript import Outcome
from gateway.standard.compression import LOSSLESS
from gateway.standard.sop_classes import ONE_SAMPLE


class Decompressing(Rendition):
    """Instances as they are stored, or decoded where only that is taken and decoders are installed.

    Parameters
    ----------
    folder : Path
        Where decoded instances may be while they are sent.
    watch : callable
        Called about once a second while an instance is decoded; what it raises comes through.
    longest : float
        Seconds that decoding an instance may take.
    """

    def __init__(self, folder: Path, watch: Callable[[], None] = lambda: None, longest: float = LONGEST) -> None:
        self._folder = folder
        self._decoder = Decoder(watch, longest)

    def syntaxes(self, row: InstanceRow) -> tuple[str, ...]:
        """Return the transfer syntaxes `row` can be sent in, the stored one first."""
        return (*super().syntaxes(row), *_decoded(row.transfer_syntax))

    def source(self, archive: Sources, row: InstanceRow, wanted: str) -> Outgoing:
        """Return the bytes of `row` in the transfer syntax that was chosen.

        Raises
        ------
        ObjectError
            If the pixels cannot be decoded, or not without loss.
        """
        if wanted in super().syntaxes(row):
            return super().source(archive, row, wanted)
        source = self._native(archive.source_of(row), row)
        return source if wanted == EXPLICIT_LITTLE else reencode(source, EXPLICIT_LITTLE, wanted)

    def _native(self, source: ByteSource, row: InstanceRow) -> ByteSource:
        decoded = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed with the source that has it
        try:
            with tempfile.TemporaryFile(dir=self._folder) as stored:
                stored.write(file_meta(row.sop_class, row.sop_instance, row.transfer_syntax))
                for chunk in source.chunks():
                    stored.write(chunk)
                stored.flush()
                self._decoder.ask("native", row.sop_instance, stored.fileno(), decoded.fileno())
        except BaseException:
            decoded.close()
            raise
        return _Unnamed(decoded)

    def close(self) -> None:
        """End the process that decodes."""
        self._decoder.close()


def available(stored: str, sop_class: str) -> tuple[str, ...]:
    """Return the transfer syntaxes in which an instance can be retrieved, the stored one first (PS3.4 C.6.1.1.5.2).

    Decoded ones are named for classes of which every image has one sample per pixel; what those of others have, only
    their headers know.
    """
    return (stored, *ALTERNATIVES.get(stored, ()), *(_decoded(stored) if sop_class in ONE_SAMPLE else ()))


def _decoded(stored: str) -> tuple[str, ...]:
    return (EXPLICIT_LITTLE, IMPLICIT_LITTLE) if stored in LOSSLESS and decodable(stored) else ()


def was_decoded(row: InstanceRow, outcome: Outcome) -> bool:
    """Tell whether an instance was sent with other pixel bytes than the stored ones."""
    return row.transfer_syntax in LOSSLESS and outcome.transfer_syntax not in ("", row.transfer_syntax)


class _Unnamed:
    """The bytes of a file that is gone when nobody has it any more."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.length = os.fstat(file.fileno()).st_size

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most `size`."""
        for start in range(0, self.length, size):
            yield os.pread(self._file.fileno(), size, start)
