"""Digests of the parts of a received data set: the value of its pixel element, and all the rest.

So a header can be believed without reading the pixels, and pixels be recognised without reading them twice. Where there
are none, or the data set is deflated as a whole, both are empty: then only the digest of the whole tells.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gateway.objects.digest import Digest
from gateway.objects.part10 import Header, read_header

if TYPE_CHECKING:
    from gateway.archive.index import Archive


class Parts(NamedTuple):
    """Digests of the value of Pixel Data and of the rest of a data set; empty if it has no such parts."""

    pixels: bytes = b""
    head: bytes = b""


def parts_of(path: Path, header: Header, *, pixels: bool = True) -> Parts:
    """Read a file and return the digests of its parts; that of the pixels only if wanted."""
    place = header.pixels
    if place is None or header.deflated:
        return Parts()
    end = place.offset + place.length
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer,
        memoryview(buffer) as view,
    ):
        head, value = Digest(), Digest()
        head.update(view[header.dataset_offset : place.offset])
        head.update(view[end:])
        if pixels:
            value.update(view[place.offset : end])
    return Parts(value.digest() if pixels else b"", head.digest())


def known(archive: Archive, name: str) -> Parts | None:
    """Return what the index knows of the parts of a received file; None if they have not been read yet."""
    sql = "SELECT pixel_digest, head_digest FROM instance WHERE name = ?"
    pixels, head = archive.database.row(sql, (name,)) or (None, None)
    return None if pixels is None or head is None else Parts(pixels, head)


def fill(archive: Archive, name: str, path: Path) -> None:
    """Note the digests of a file that has just been found right, if the index does not have them."""
    if known(archive, name) is None:
        parts = parts_of(path, read_header(path))
        with archive.database.transaction() as connection:
            connection.execute(
                "UPDATE instance SET pixel_digest = ?, head_digest = ? WHERE name = ?", (parts.pixels, parts.head, name)
            )
