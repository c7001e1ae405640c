"""Check of what the data directory holds: what the box has found damaged, and records and recipes by their digests."""

from __future__ import annotations

import time
from collections.abc import Iterator

from gateway.archive.index import Archive
from gateway.archive.records import read_record
from gateway.errors import GatewayError
from gateway.objects.recipe import Recipe
from gateway.service.checks.base import Check, Finding
from gateway.service.checks.data import INDEX
from gateway.service.config import Config

# Seconds for reading records and recipes; received files are read when they are used.
_LONGEST = 20.0


class Sound(Check):
    """Bytes that are not what was stored never leave the box; somebody has to bring other ones."""

    code = "damage"
    about = "no received file, recipe or record is damaged, as far as they have been read"

    def look(self, config: Config) -> Iterator[Finding]:
        """Name what is known to be damaged, then read records and recipes."""
        if not (config.data_dir / INDEX).exists():
            yield self.skipped("", "there is nothing yet")
            return
        try:
            archive = Archive(config.data_dir, readonly=True)
        except GatewayError as error:
            yield self.skipped("", f"the index cannot be read: {error.problem}")
            return
        try:
            found = list(self._judge(archive))
        finally:
            archive.close()
        yield from found

    def _judge(self, archive: Archive) -> Iterator[Finding]:
        known = archive.damage.described()
        for one in known:
            holds = f" (instance {one['instance']} of study {one['study']})" if one["instance"] else ""
            yield self.failed(one["file"], f"{one['reason']}{holds}", one["remedy"])
        named = {one["file"] for one in known}
        deadline = time.monotonic() + _LONGEST
        count, wrong = 0, False
        paths = [*archive.files.records.glob("*.json"), *archive.files.derived.rglob("*.recipe")]
        for path in paths:
            if time.monotonic() > deadline:
                break
            file = str(path.relative_to(archive.files.root))
            try:
                Recipe.load(path) if path.suffix == ".recipe" else read_record(path)
            except FileNotFoundError:
                pass  # replaced meanwhile
            except (GatewayError, OSError) as error:
                wrong = True
                if file not in named:
                    yield self.failed(file, getattr(error, "problem", "") or str(error), self._remedy(file))
            count += 1
        if not known and not wrong:
            yield self.ok("", f"nothing is known to be; {count} of {len(paths)} records and recipes read")

    def _remedy(self, file: str) -> str:
        if file.endswith(".recipe"):
            return "it is made again when it is needed; restart the gateway to have that done now"
        return "keep a copy of data_dir and restore the file from a backup"
