"""Check of what came in: the index knows all that was acknowledged."""

from __future__ import annotations

import time
from collections.abc import Iterator

from gateway.archive.arrears import late
from gateway.archive.index import Archive
from gateway.errors import ObjectError
from gateway.objects.part10 import read_header
from gateway.service.checks.base import Check, Finding
from gateway.service.checks.data import opened
from gateway.service.config import Config

_REMEDY = "the log says why (`recovery.refused`, `intake.not_registered`): mend that, then restart the gateway"


class Registered(Check):
    """What is acknowledged and not in the index is not converted, not delivered and not found."""

    code = "registered"
    about = "the index knows every object that was acknowledged"

    def look(self, config: Config) -> Iterator[Finding]:
        """Compare the intake folder with the index."""
        archive = opened(self, config)
        if isinstance(archive, Finding):
            yield archive
            return
        try:
            names = late(archive)
            if not names:
                yield self.ok("", "every acknowledged object is in the index")
                return
            since = archive.files.received_at(names[0]) / 1e9
            some = f"{len(names)} acknowledged {'object is' if len(names) == 1 else 'objects are'} not in the index"
            day = time.strftime("%Y-%m-%d %H:%M", time.localtime(since))
            yield self.failed("", f"{some}, the oldest since {day}: {self._named(archive, names[0])}", _REMEDY)
        finally:
            archive.close()

    def _named(self, archive: Archive, name: str) -> str:
        path = archive.files.intake_path(name)
        try:
            header = read_header(path)
        except (ObjectError, OSError) as error:
            return f"{path.name} ({error})"
        return f"{path.name} (instance {header.sop_instance}, study {header.study})"
