"""Frame level retrieval: a new instance of some frames of another, made for one request (PS3.4 Y.3.3)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gateway.archive import intact
from gateway.archive.rows import DERIVED, InstanceRow
from gateway.conversion.extraction import extract
from gateway.conversion.frame_lists import FrameRequest
from gateway.conversion.frame_source import DerivedFrames, FrameSource, ReceivedFrames
from gateway.conversion.identity import Identity
from gateway.objects.recipe import Recipe
from gateway.objects.stream import ByteSource

if TYPE_CHECKING:
    from gateway.archive.index import Archive


class Extracted:
    """The new instance as what the engine sends from.

    Parameters
    ----------
    archive : Archive
        Where the pixels are.
    recipe : Recipe
        The new instance.
    """

    def __init__(self, archive: Archive, recipe: Recipe) -> None:
        self._archive = archive
        self._recipe = recipe

    def source_of(self, row: InstanceRow, /) -> ByteSource:
        """Return the data set of the new instance."""
        return self._recipe.source(self._archive.files.locate)


@contextlib.contextmanager
def extracted(
    archive: Archive,
    row: InstanceRow,
    request: FrameRequest,
    identity: Identity,
    watch: Callable[[], None] = lambda: None,
) -> Iterator[tuple[InstanceRow, Extracted]]:
    """Make the instance that a request at the FRAME level stands for; it is gone at the end.

    The same request makes the same instance with the same UID, so that nothing has to be kept.

    Parameters
    ----------
    archive : Archive
        Holds the instance that frames are taken from.
    row : InstanceRow
        That instance.
    request : FrameRequest
        Which frames.
    identity : Identity
        Settings for Contributing Equipment and the new UID.
    watch : callable
        Called again and again while the instance is made; what it raises comes through.

    Yields
    ------
    InstanceRow, Extracted
        The new instance as a row, and its bytes.

    Raises
    ------
    ExtractionError
        With the failure status of table Y.4-1.
    """
    with archive.files.scratch() as path:
        recipe = extract(_frames(archive, row), request, path, identity, locate=archive.files.locate, watch=watch)
        intact.require_sources(archive, recipe.sources)
        made = row._replace(
            sop_instance=recipe.sop_instance, transfer_syntax=recipe.transfer_syntax, length=recipe.length
        )
        yield made, Extracted(archive, recipe)


def _frames(archive: Archive, row: InstanceRow) -> FrameSource:
    if row.kind == DERIVED:
        return DerivedFrames(archive.recipe_of(row))
    try:
        return ReceivedFrames(row.name, archive.files.locate(row.name), row.digest)
    except FileNotFoundError:  # files leave the intake folder, but only once
        return ReceivedFrames(row.name, archive.files.locate(row.name), row.digest)
