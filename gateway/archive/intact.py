"""Whether what is held is still what was stored: received files by their digests, derived objects by theirs.

Nothing that comes back from the disk is believed. The digest of a received data set is in its file's name, that of a
derived object in the index and in the record of its conversion; file meta information is what the box itself wrote.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.archive.damage import RECEIVED, RECIPE
from gateway.archive.parts import is_preamble
from gateway.archive.rows import DERIVED, InstanceRow
from gateway.errors import ArchiveError, DamagedError, GatewayError, ObjectError
from gateway.objects.checked import OTHER_BYTES, Checked, damaged
from gateway.objects.digest import Digest
from gateway.objects.elements import text
from gateway.objects.parse import Syntax, parse_dataset
from gateway.objects.part10 import PREAMBLE, Header, file_meta
from gateway.objects.recipe import Recipe
from gateway.objects.stream import ByteSource

if TYPE_CHECKING:
    from gateway.archive.index import Archive

_AT_ONCE = 1 << 20

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
    except (GatewayError, OSError) as error:
        return str(error)
    archive.damage.clear(row.name)
    return ""


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


def _right_meta(meta: bytes, row: InstanceRow) -> bool:
    """Tell whether the file meta information of a received file is what this, or another, version of the box wrote."""
    expected = file_meta(row.sop_class, row.sop_instance, row.transfer_syntax, row.peer)
    start = len(PREAMBLE)
    if not meta.startswith(b"DICM", start - 4):
        return not meta
    if not is_preamble(meta[: start - 4], row.digest, row.length):
        return False
    if meta[start:] == expected[start:]:
        return True
    try:
        parsed = parse_dataset(meta, start, len(meta), Syntax())[0]
    except (ObjectError, struct.error, IndexError):
        return False
    return len(meta) != len(expected) and all(text(parsed, tag) == getattr(row, name) for tag, name in _META)


def right_header(row: InstanceRow, header: Header) -> bool:
    """Tell whether a header was read as that of the file that was received."""
    return (
        header.dataset_offset == row.dataset_offset
        and header.size == row.dataset_offset + row.length
        and header.transfer_syntax == row.transfer_syntax
    )


def _noted(archive: Archive, name: str, kind: str, reason: str, row: InstanceRow) -> DamagedError:
    archive.damage.note(name, kind, reason, row)
    path = archive.files.recipe(name) if kind == RECIPE else archive.files.received_path(name)
    return damaged(f"{path.parent.parent.name}/{path.parent.name}/{path.name}", reason)


def _problem(error: Exception) -> str:
    """Return what an error says, without the name of the file."""
    if isinstance(error, DamagedError):
        return error.problem.removeprefix("is damaged: ")
    if isinstance(error, ArchiveError):
        return error.problem
    return getattr(error, "strerror", None) or str(error)
