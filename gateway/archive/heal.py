"""An object that is sent again takes the place of the copy that is damaged, and what waited for it goes on.

Recipes say where in a file their pixels are, and the index where its data set begins: so the new bytes get just the
file meta information that the old file had. The damaged file is kept in ``quarantine/``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.archive import intact
from gateway.archive.durable import storage_errors, sync_folder
from gateway.archive.jobs import CONVERT
from gateway.archive.rows import DERIVED, InstanceRow
from gateway.errors import ArchiveError
from gateway.objects.part10 import Header
from gateway.objects.stream import FileSource
from gateway.observe import event, fault

if TYPE_CHECKING:
    from gateway.archive.index import Archive


def is_held(archive: Archive, row: InstanceRow, name: str, header: Header) -> bool:
    """Tell whether what has come is held already, with the bytes it came with now.

    If the held copy is damaged, or gone, what has come takes its place, and then it is.

    Parameters
    ----------
    archive : Archive
        Holds them.
    row : InstanceRow
        What is held with the same digest.
    name : str
        Archive name of what has come, in the intake folder.
    header : Header
        Of it.
    """
    if row.kind == DERIVED:  # a recipe is made again from its sources, not from what comes back
        return archive.files.recipe(row.name).exists()
    if not intact.problem_of(archive, row):
        return True
    if header.transfer_syntax != row.transfer_syntax or not _take_place(archive, row, name, header):
        return False
    archive.damage.clear(row.name)
    event("archive.healed", file=f"{row.name}.dcm", study=row.study, instance=row.sop_instance)
    archive.jobs.schedule(CONVERT, row.study, not_before=archive.clock.now() + archive.quiet)
    return True


def _take_place(archive: Archive, row: InstanceRow, name: str, header: Header) -> bool:
    """Put the data set that has come where the damaged file is."""
    files = archive.files
    meta = intact.meta_of(row)
    if len(meta) != row.dataset_offset:
        return False
    with storage_errors(row.name):
        part = files.begin(meta)
        for piece in FileSource(files.intake_path(name), header.dataset_offset, row.length).chunks():
            part.write(piece)
        if part.digest != row.digest or part.length != row.length:
            part.discard()
            return False
        fresh = files.intake_path(part.commit(hold=True))
        try:
            place = _place(archive, row)
            files.keep_damaged(place)
            fault("heal.before_rename")
            os.replace(fresh, place)
            sync_folder(place.parent)
            sync_folder(fresh.parent)
        finally:
            part.release()
    return True


def _place(archive: Archive, row: InstanceRow) -> Path:
    """Return where the file of an instance is, or belongs if it is gone."""
    try:
        return archive.files.locate(row.name)
    except ArchiveError:
        return archive.files.settled_place(row.name)
