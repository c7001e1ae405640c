"""Reads everything that is kept, a little at a time, so that what the disk has changed is known before it is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.archive import intact, partitions
from gateway.archive.damage import RECIPE
from gateway.errors import DamagedError
from gateway.objects.recipe import Recipe
from gateway.observe import warning

if TYPE_CHECKING:
    from gateway.archive.index import Archive

_RECEIVED = "SELECT id, name FROM instance WHERE kind = 'received' AND id > ? ORDER BY id LIMIT 100"

# Seconds that one step may take, and between two rounds.
LONGEST = 0.05
PAUSE = 3600.0


class Patrol:
    """Goes round the records, recipes and received files of one archive: a sixtieth of the time, for ever.

    Parameters
    ----------
    archive : Archive
        The archive.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._left: Iterator[Callable[[], object]] = iter(())
        self._next = 0.0

    def step(self) -> None:
        """Read a few files, and note which are damaged."""
        now = self._archive.clock.monotonic()
        if now >= self._next:
            self._next = now + PAUSE
            self._left = self._round()
        deadline = time.monotonic() + LONGEST
        for look in self._left:
            self._next = now + PAUSE  # from the end of a round
            try:
                look()
            except OSError as error:
                warning("archive.unreadable", reason=error)
            if time.monotonic() > deadline:
                return

    def _round(self) -> Iterator[Callable[[], object]]:
        """Yield what looks at each file; files that come meanwhile are looked at, too."""
        files = self._archive.files
        yield partial(partitions.note_gone, self._archive)
        for folder in (files.records.glob("*.json"), files.derived.glob("??/*.recipe")):
            for path in folder:
                yield partial(self._look, path)
        last = 0
        while found := self._archive.database.rows(_RECEIVED, (last,)):
            yield from (partial(self._received, name) for _, name in found)
            last = found[-1][0]

    def _received(self, name: str) -> None:
        row = self._archive.named(name)
        if row is not None:
            intact.problem_of(self._archive, row)

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
