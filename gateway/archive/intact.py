"""Whether what is held is still what was stored: received files by their digests, derived objects by theirs.

Nothing that comes back from the disk is believed. The digest of a received data set is in its file's name, that of a
derived object in the index and in the record of its conversion; file meta information is what the box itself wrote.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.archive import digests
from gateway.archive.damage import RECEIVED, RECIPE
from gateway.archive.files import digest_of_name
from gateway.archive.parts import is_preamble
from gateway.archive.rows import DERIVED, InstanceRow
from gateway.errors import ArchiveError, DamagedError, GatewayError, ObjectError
from gateway.objects.checked import OTHER_BYTES, Checked, damaged
from gateway.objects.digest import Digest
from gateway.objects.elements import text
from gateway.objects.parse import Syntax, parse_dataset
from gateway.objects.part10 import PREAMBLE, Header, file_meta, read_header
from gateway.objects.recipe import Recipe, digest_of
from gateway.objects.stream import ByteSource, FileSource

if TYPE_CHECKING:
    from gateway.archive.index import Archive

_AT_ONCE = 1 << 20

SOURCE_AE_TITLE = 0x00020016

_META = ((0x00020002, "sop_class"), (0x00020003, "sop_instance"), (0x00020010, "transfer_syntax"))


def checked(archive: Archive, row: InstanceRow, source: ByteSource) -> ByteSource:
    """Return the data set of an instance as one whose end nobody gets if it is not what was stored."""
    return Checked(source, row.digest, row.length, lambda reason: found(archive, row, reason))


def found(archive: Archive, row: InstanceRow, reason: str) -> DamagedError:
    """Note which file of an instance is damaged, and return the error that names it."""
    if row.kind != DERIVED:
        return _noted(archive, row.name, RECEIVED, reason, row)
    try:
        recipe = Recipe.load(archive.files.recipe(row.name))
    except (GatewayError, OSError) as error:
        return _noted(archive, row.name, RECIPE, _problem(error), row)
    wrong = [one for name in recipe.sources if (one := _source_error(archive, name)) is not None]
    if wrong:
        return wrong[0]
    if reason == OTHER_BYTES or recipe.digest != row.digest:
        reason = "what it makes is not the object that was proved"
    return _noted(archive, row.name, RECIPE, reason, row)


def recipe_of(archive: Archive, row: InstanceRow) -> Recipe:
    """Return the recipe of a derived object.

    Raises
    ------
    DamagedError
        If it is gone or not the one that was written.
    """
    try:
        recipe = Recipe.load(archive.files.recipe(row.name))
    except (GatewayError, OSError) as error:
        raise _noted(archive, row.name, RECIPE, _problem(error), row) from error
    if recipe.digest != row.digest or recipe.length != row.length:
        raise _noted(archive, row.name, RECIPE, "it is not the recipe of the object that was proved", row)
    return recipe


def problem_of(archive: Archive, row: InstanceRow, watch: Callable[[], None] = lambda: None) -> str:
    """Read all of an instance and return what is wrong with it, empty if it is what was stored.

    What is found is noted; a note about a file that is right again goes.

    Parameters
    ----------
    archive : Archive
        Holds it.
    row : InstanceRow
        The instance.
    watch : callable
        Called again and again; what it raises comes through.
    """
    try:
        if row.kind == DERIVED:
            for _ in archive.source_of(row).chunks(_AT_ONCE):
                watch()
        else:
            reason = _read_twice(archive, row)
            if reason:
                raise found(archive, row, reason)
            with contextlib.suppress(GatewayError, OSError):
                digests.fill(archive, row.name, archive.files.locate(row.name))
    except (GatewayError, OSError) as error:
        return str(error)
    archive.damage.clear(row.name)
    return ""


def header_of(archive: Archive, row: InstanceRow, left: frozenset[int] = frozenset()) -> Header:
    """Return the header of a received instance, as it was received.

    Raises
    ------
    DamagedError
        If the file is not what was received.
    ObjectError
        If it never could be read.
    """
    for again in (False, True):
        try:
            path = archive.files.locate(row.name)
            header = read_header(path, left=left)
            if _right_head(archive, row, path, header):
                return header
        except FileNotFoundError:  # it moves once
            if not again:
                continue
            raise
        except (ObjectError, ArchiveError, OSError):
            require(archive, row)
            raise
        break
    require(archive, row)
    return header


def require(archive: Archive, row: InstanceRow) -> None:
    """Read all of a received file.

    Raises
    ------
    DamagedError
        If it is not what was received.
    """
    if reason := _read_twice(archive, row):
        raise found(archive, row, reason)


def require_sources(archive: Archive, names: Iterable[str]) -> None:
    """Read all of the files that something is made of, and raise `DamagedError` if one is not what was received."""
    for name in names:
        if (error := _source_error(archive, name)) is not None:
            raise error


def _right_head(archive: Archive, row: InstanceRow, path: Path, header: Header) -> bool:
    """Tell whether all of a file but its pixels is known to be right; False if only reading the whole tells."""
    known = digests.known(archive, row.name)
    if known is None or not known.head or not right_header(row, header):
        return False
    return digests.parts_of(path, header, pixels=False).head == known.head


def _source_error(archive: Archive, name: str) -> DamagedError | None:
    """Return what is wrong with a source of a derived object."""
    row = archive.named(name)
    if row is None:
        return damaged(name, "the index does not know it any more")
    reason = _read_twice(archive, row)
    return found(archive, row, reason) if reason else None


def _read_twice(archive: Archive, row: InstanceRow) -> str:
    """Return what is wrong with a received file, which may be moved once while it is looked for."""
    try:
        return _wrong(archive.files.locate(row.name), row)
    except FileNotFoundError:
        pass
    except (GatewayError, OSError) as error:
        return _problem(error)
    try:
        return _wrong(archive.files.locate(row.name), row)
    except (GatewayError, OSError) as error:
        return _problem(error)


def _wrong(path: Path, row: InstanceRow) -> str:
    with open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != row.dataset_offset + row.length:
            return "its length is not that of what was received"
        meta = file.read(row.dataset_offset)
        digest = Digest()
        while piece := file.read(_AT_ONCE):
            digest.update(piece)
    if digest.hexdigest() != row.digest:
        return OTHER_BYTES
    return "" if _right_meta(meta, row) else "its file meta information is not what was written"


def is_named_by_its_digest(path: Path, name: str, header: Header) -> bool:
    """Tell whether the data set of a file in the intake folder is the one that its name was made of."""
    return digest_of(FileSource(path, header.dataset_offset)) == digest_of_name(name)


def _right_meta(meta: bytes, row: InstanceRow) -> bool:
    """Tell whether the file meta information of a received file is what this, or another, version of the box wrote."""
    start = len(PREAMBLE)
    if not meta.startswith(b"DICM", start - 4):
        return not meta
    if not is_preamble(meta[: start - 4], row.digest, row.length):
        return False
    if meta[start:] == meta_of(row)[start:]:
        return True
    try:
        parsed = parse_dataset(meta, start, len(meta), Syntax())[0]
    except (ObjectError, struct.error, IndexError):
        return False
    of_this_version = len(meta) == len(meta_of(row._replace(writer=text(parsed, SOURCE_AE_TITLE))))
    return not of_this_version and all(text(parsed, tag) == getattr(row, name) for tag, name in _META)


def meta_of(row: InstanceRow) -> bytes:
    """Return the file meta information, behind an empty preamble, that this version of the box writes for an object."""
    return file_meta(row.sop_class, row.sop_instance, row.transfer_syntax, row.writer)


def right_header(row: InstanceRow, header: Header) -> bool:
    """Tell whether a header was read as that of the file that was received."""
    return (
        header.dataset_offset == row.dataset_offset
        and header.size == row.dataset_offset + row.length
        and header.transfer_syntax == row.transfer_syntax
    )


def _noted(archive: Archive, name: str, kind: str, reason: str, row: InstanceRow) -> DamagedError:
    archive.damage.note(name, kind, reason, row)
    return damaged(archive.damage.place(name, kind), reason)


def _problem(error: Exception) -> str:
    """Return what an error says, without the name of the file."""
    if isinstance(error, DamagedError):
        return error.problem.removeprefix("is damaged: ")
    if isinstance(error, ArchiveError):
        return error.problem
    return getattr(error, "strerror", None) or str(error)
