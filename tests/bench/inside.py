"""Times the conversion of a folder as the box does it: ``python -m tests.bench.inside convert|read held|cold IN OUT``.

Prints seconds and seconds of processor.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gateway.service.lean import without_decoders

with without_decoders():
    from gateway.conversion.headers import Headers
    from gateway.conversion.identity import Identity
    from gateway.conversion.study import SourceFile, convert_facts, gather_all
    from gateway.objects.part10 import read_header
    from gateway.objects.recipe import digest_of
    from gateway.objects.stream import FileSource

PIECE = 1 << 20


def convert(sources: Sequence[SourceFile], target: Path) -> None:
    """Make and prove the recipe of the object that the sources become."""
    headers = Headers()
    facts, unreadable = gather_all(sources, headers)
    result = convert_facts(facts, lambda uid: target / f"{uid}.recipe", identity=Identity(), headers=headers)
    if unreadable or result.kept or len(result.objects) != 1:
        sys.exit(f"no single object: {result.kept or unreadable}")


def read(sources: Sequence[SourceFile], target: Path) -> None:
    """Read every file once."""
    buffer = bytearray(PIECE)
    for source in sources:
        with open(source.path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def forget(paths: Sequence[Path]) -> None:
    """Have the page cache drop files, which must be on the disk for that."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def main(name: str, state: str, folder: Path, target: Path) -> None:
    """Do one of them."""
    paths = sorted(folder.iterdir())
    sources = [
        SourceFile(path.name, path, digest_of(FileSource(path, read_header(path).dataset_offset))) for path in paths
    ]
    if state == "cold":
        forget(paths)
    started, processor = time.monotonic(), time.process_time()
    (convert if name == "convert" else read)(sources, target)
    print(time.monotonic() - started, time.process_time() - processor)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
