"""Instances for peers that take only native little endian ones (PS3.4 C.4.2.3.1): decoded where nothing is lost by it.

That is where every decoder makes the same samples (`gateway.standard.compression`), and colours are none that it
converts with rounding. Deflated and big endian ones are written anew. Decoded is by `gateway.archive.decoder`, into a
file without a name: whatever happens, nothing is left of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from pydicom.uid import UID, MPEGTransferSyntaxes

from gateway.archive.decoder import LONGEST, Decoder, decodable
from gateway.archive.rows import InstanceRow
from gateway.errors import DamagedError, ObjectError
from gateway.objects.part10 import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, file_meta
from gateway.objects.stream import CHUNK, ByteSource, Outgoing
from gateway.retrieval.rendition import ALTERNATIVES, CannotSend, Rendition, Sources, converted
from gateway.retrieval.transcript import Outcome
from gateway.standard.compression import EXACT, LOSSLESS
from gateway.standard.sop_classes import ONE_SAMPLE

# Native syntaxes that are bound to die out, and what they can be written in besides.
_LITTLE = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
_WRITTEN_ANEW = {DEFLATED: _LITTLE, EXPLICIT_BIG: _LITTLE}


class Decompressing(Rendition):
    """Instances as they are stored, or native and little endian where only that is taken.

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
        stored = row.transfer_syntax
        return (*super().syntaxes(row), *_WRITTEN_ANEW.get(stored, ()), *_decoded(stored))

    def obstacle(self, row: InstanceRow) -> str:
        """Return why `row` cannot be decoded, empty if it can, as far as its transfer syntax tells, or is native."""
        stored = row.transfer_syntax
        if not UID(stored).is_transfer_syntax or not UID(stored).is_compressed or len(self.syntaxes(row)) > 1:
            return ""
        if stored in LOSSLESS | EXACT:
            return "no decoder of it is installed"
        return _OTHERS.get(stored, "decoders differ in what they make of it")

    def source(self, archive: Sources, row: InstanceRow, wanted: str) -> Outgoing:
        """Return the bytes of `row` in the transfer syntax that was chosen.

        Raises
        ------
        CannotSend
            If the pixels cannot be decoded, or not without loss, or the syntax cannot carry something else.
        """
        stored = row.transfer_syntax
        if wanted in super().syntaxes(row):
            return super().source(archive, row, wanted)
        if stored in _WRITTEN_ANEW:
            return converted(archive.source_of(row), stored, wanted)
        return converted(self._decoded(archive.source_of(row), row), EXPLICIT_LITTLE, wanted)

    def _decoded(self, source: ByteSource, row: InstanceRow) -> ByteSource:
        try:
            return self._native(source, row)
        except DamagedError:
            raise
        except ObjectError as error:
            raise CannotSend("decoded", error) from error

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

    Decoded ones are named of what was compressed without loss, for classes of which every image has one sample per
    pixel; what those of others have, and how others were compressed, only the objects know.
    """
    sure = sop_class in ONE_SAMPLE and stored in LOSSLESS
    return (stored, *ALTERNATIVES.get(stored, ()), *_WRITTEN_ANEW.get(stored, ()), *(_decoded(stored) if sure else ()))


# Why those are not decoded that hold no image, or more than one.
_OTHERS: dict[str, str] = {
    **dict.fromkeys(MPEGTransferSyntaxes, "it is video"),
    "1.2.840.10008.1.2.4.94": "it has no pixels but says where they are",
    "1.2.840.10008.1.2.4.95": "it has no pixels but says where they are",
}


def _decoded(stored: str) -> tuple[str, ...]:
    return _LITTLE if decodable(stored) else ()


def was_decoded(row: InstanceRow, outcome: Outcome) -> bool:
    """Tell whether an instance was sent with other pixel bytes than the stored ones."""
    return row.transfer_syntax in LOSSLESS | EXACT and outcome.transfer_syntax not in ("", row.transfer_syntax)


class _Unnamed:
    """The bytes of a file that is gone when nobody has it any more."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.length = os.fstat(file.fileno()).st_size

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most `size`."""
        for start in range(0, self.length, size):
            yield os.pread(self._file.fileno(), size, start)
