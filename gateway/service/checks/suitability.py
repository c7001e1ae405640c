"""Check of what stays classic: how much of what was converted does not go to a destination as enhanced objects."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.archive.delivery_status import kept_classic
from gateway.archive.index import Archive
from gateway.service.checks.base import Check, Finding
from gateway.service.checks.data import opened
from gateway.service.config import Config

# Studies that are looked at for each destination, the latest ones.
LATEST = 100


class KeptClassic(Check):
    """What most readers cannot show right, and what a destination refuses as enhanced, takes as long as before."""

    code = "kept-classic"
    about = f"how many converted images of the last {LATEST} studies have gone to each destination as classic ones"

    def look(self, config: Config) -> Iterator[Finding]:
        """Add up what was decided for each destination that gets the enhanced view."""
        titles = [to.ae_title for to in config.destination if to.view == "enhanced" and to.mode == "push"]
        if not titles:
            yield self.skipped("", "no destination is sent the enhanced view")
            return
        archive = opened(self, config)
        if isinstance(archive, Finding):
            yield archive
            return
        try:
            for title in titles:
                yield self._of(archive, title)
        finally:
            archive.close()

    def _of(self, archive: Archive, title: str) -> Finding:
        studies = archive.custody.decided(title, LATEST)
        kept = [kept_classic(archive, study, title, archive.custody.decision(study, title)) for study in studies]
        images, converted = (sum(one[what] for one in kept) for what in ("images", "of"))
        if not images:
            return self.ok(title, f"none of the converted images of the last {len(studies)} studies went there classic")
        concerned = sum(bool(one["images"]) for one in kept)
        share = f"{images} of {converted} converted images went there classic"
        return self.ok(title, f"{share}, in {concerned} of the last {len(studies)} studies; `gateway status` says why")
