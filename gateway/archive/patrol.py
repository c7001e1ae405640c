"""Reads records and recipes from time to time, so that what the disk has changed in them is known before it is needed.

Received files are read when they are used; they are too many to be read for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.archive.damage import RECIPE
from gateway.errors import DamagedError
from gateway.objects.recipe import Recipe
from gateway.observe import warning

if TYPE_CHECKING:
    from gateway.archive.index import Archive

# Seconds that one step may take, and between two rounds.
LONGEST = 0.05
PAUSE = 3600.0


class Patrol:
    """Goes round the records and recipes of one archive, a little at a time.

    Parameters
    ----------
    archive : Archive
        The archive.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._left: Iterator[Path] = iter(())
        self._next = 0.0

    def step(self) -> None:
        """Read a few files, and note which are damaged."""
        now = self._archive.clock.monotonic()
        if now >= self._next:
            self._next = now + PAUSE
            files = self._archive.files
            self._left = (path for folder in (files.records.glob("*.json"), files.derived.glob("??/*.recipe"))
                          for path in folder)  # fmt: skip
        deadline = time.monotonic() + LONGEST
        for path in self._left:
            try:
                self._look(path)
            except OSError as error:
                warning("archive.unreadable", file=path.name, reason=error)
            if time.monotonic() > deadline:
                return

    def _look(self, path: Path) -> None:
        try:
            if path.suffix == ".recipe":
                Recipe.load(path)
            else:
                self._archive.damage.record(path)
        except FileNotFoundError:
            pass  # done with meanwhile
        except DamagedError as error:
            row = self._archive.named(path.stem)
            if path.suffix == ".recipe" and row is not None:  # records are noted already
                self._archive.damage.note(path.stem, RECIPE, error.problem.removeprefix("is damaged: "), row)
