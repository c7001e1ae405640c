"""Converts studies that are complete, and settles what came in: into enhanced objects, or as it is with the reason.

A study is complete when nothing has come for a while: the archive schedules its job with every instance it admits and
thereby puts it off. What comes later is converted by a job of its own and joins the objects that exist.

Order is everything here: recipes are durable before the record that names them, the record before the index, the index
before a delivery is scheduled. Whatever is missing after a crash follows from what is there.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.archive.files import sync_folder
from gateway.archive.index import Archive
from gateway.archive.jobs import CONVERT, DELIVER, RUNNING, Job
from gateway.archive.rows import DerivedRow, InstanceRow, Settlement
from gateway.archive.views import ALL_VIEWS, View, view_named
from gateway.conversion.held import Held
from gateway.conversion.identity import Identity
from gateway.conversion.planned import Frozen
from gateway.conversion.study import (
    Converted,
    Made,
    SourceFile,
    StudyConversion,
    convert_facts,
    frozen_from,
    gather_all,
)
from gateway.errors import ArchiveError, ResourceError
from gateway.objects.elements import DataSet
from gateway.objects.parse import Syntax, parse_dataset
from gateway.objects.recipe import Recipe
from gateway.observe import LOGGER, event, fault, warning
from gateway.pipeline.correction import reopened, withdrawals
from gateway.pipeline.retry import Backoff

POLL = 0.2

# Pause after a trouble of our own.
TROUBLE = 2.0

# Attempts after which a study goes on as it is: something about it breaks the converter, and it must not stay for ever.
ATTEMPTS = 3

# Seconds between two moves of objects out of the intake folder.
CHECKPOINT_INTERVAL = 3.0

# Per-Frame Functional Groups Sequence as it begins in every recipe: tag, VR, undefined length.
_PER_FRAME = b"\x00\x52\x30\x92SQ\0\0\xff\xff\xff\xff"


class _Stopped(Exception):
    """The box ends; the job is still running when it starts again."""


@dataclass(frozen=True)
class ConversionPolicy:
    """What the conversion worker is told.

    Attributes
    ----------
    destinations : tuple of str
        AE titles that every settled study goes to.
    identity : Identity
        Enters UIDs and Contributing Equipment.
    backoff : Backoff
        Delay between attempts.
    recover : callable
        `convert` and `prior` for the AE title a file came from, see `Archive.recover`.
    """

    destinations: tuple[str, ...] = ()
    identity: Identity = field(default_factory=Identity)
    backoff: Backoff = field(default_factory=Backoff)
    recover: Callable[[str], tuple[bool, bool]] = lambda peer: (True, False)


class Converter:
    """Works off the conversions, one study at a time.

    Parameters
    ----------
    archive : Archive
        Of this process.
    policy : ConversionPolicy
        See there.
    stop : callable
        Whether this process shall end.
    """

    def __init__(self, archive: Archive, policy: ConversionPolicy, stop: Callable[[], bool] = lambda: False) -> None:
        self.archive = archive
        self.jobs = archive.jobs
        self.policy = policy
        self.stop = stop
        self._checkpointed = 0.0
        self._untidy = False  # an attempt without room has left something

    def run(self) -> None:
        """Convert until this process shall end."""
        self.resume()
        while not self.stop():
            try:
                worked = self.step()
                self.housekeeping()
                if not worked:
                    time.sleep(POLL)
            except Exception:  # the index is locked or the disk is full: not for ever
                LOGGER.exception("conversions")
                time.sleep(TROUBLE)
                # The end of a job may not have been noted.
                self.jobs.release_running(CONVERT)

    def resume(self) -> None:
        """Go on where a conversion process that died has left off."""
        self._put_in_order()
        for job in self.jobs.listing():
            if job.kind == CONVERT and job.state == RUNNING:
                self._again(job, "the conversion process died")

    def step(self) -> bool:
        """Convert one study that is due; False if none is."""
        job = self.jobs.take(CONVERT)
        if job is None:
            return False
        fault("convert.start")
        try:
            self._settle(job)
        except _Stopped:
            return False
        except ResourceError as error:
            self._without_room(job, str(error))
            return True
        except Exception as error:  # nothing about one study may end the box
            LOGGER.exception("conversion of %s", job.study)
            self._again(job, f"{type(error).__name__}: {error}")
            return True
        for destination in self.policy.destinations:
            self.jobs.schedule(DELIVER, job.study, destination)
        self.jobs.finish(job)
        return True

    def housekeeping(self) -> None:
        """Move what the index knows durably out of the intake folder, every few seconds."""
        now = self.archive.clock.monotonic()
        if now - self._checkpointed >= CHECKPOINT_INTERVAL:
            self._checkpointed = now
            self.archive.checkpoint()

    def _again(self, job: Job, reason: str) -> None:
        delay = self.policy.backoff.delay(job.attempts + 1)
        warning("convert.retry", study=job.study, reason=reason, attempts=job.attempts + 1, again_in=round(delay, 1))
        self.jobs.retry(job, reason, self.archive.clock.now() + delay)

    def _without_room(self, job: Job, reason: str) -> None:
        """Wait for room on the disk: the study is not to blame, so that this is no attempt."""
        delay = self.policy.backoff.delay(4)
        due = self.archive.clock.now() + delay
        warning("convert.no_room", study=job.study, reason=reason, again_in=round(delay, 1))
        self.jobs.schedule(CONVERT, job.study, not_before=due)
        self.jobs.finish(job)
        self.jobs.schedule(CONVERT, job.study, not_before=due, reason=reason)
        self._untidy = True

    # One study

    def _settle(self, job: Job) -> None:
        """Decide about everything in a study that nothing was decided about."""
        if job.attempts or self._untidy:
            self._put_in_order()
        rows = self.archive.unsettled(job.study)
        if not rows:
            return
        started = self.archive.clock.monotonic()
        frozen, rows, withdrawn = reopened(
            self.archive, job.study, frozen_from(self.archive.partitions(job.study)), rows
        )
        # Rows of a long series are a large part of what this process holds: only names and UIDs stay.
        instances = {row.name: row.sop_instance for row in rows}
        sources = map(self._source, rows)
        del rows
        if job.attempts < ATTEMPTS:
            result = self._convert(frozen, sources, set(instances.values()))
        else:
            reason = f"conversion given up after {job.attempts} attempts: {job.reason}"
            LOGGER.error("%s of study %s", reason, job.study)
            result = StudyConversion(kept=dict.fromkeys(instances, reason))
        result.withdrawn = (*withdrawn, *result.withdrawn)
        recipes = [made.recipe for made in result.objects] + [made.recipe for made in result.companions]
        for folder in sorted({recipe.path.parent for recipe in recipes}):
            sync_folder(folder)
        fault("convert.before_record")
        derived = [derived_row(job.study, converted) for converted in result.objects]
        derived += [companion_row(made) for made in result.companions]
        settled = settlements(instances, result) | withdrawals(self.archive, job.study, withdrawn)
        self.archive.record_conversion(job.study, derived, settled, result.record(job.study))
        fault("convert.after_index")
        event(
            "convert.done",
            study=job.study,
            instances=len(instances),
            objects=len(derived),
            unchanged=len(result.kept),
            seconds=round(self.archive.clock.monotonic() - started, 2),
        )

    def _convert(self, frozen: Sequence[Frozen], sources: Iterable[SourceFile], known: set[str]) -> StudyConversion:
        facts, unreadable = gather_all(sources, self._progress)
        result = convert_facts(
            facts,
            self.archive.files.recipe_path,
            identity=self.policy.identity,
            frozen=frozen,
            resolve=self._resolve,
            held=Held(fixed=self._referred(known)),
            progress=self._progress,
        )
        result.kept.update(unreadable)
        return result

    def _source(self, row: InstanceRow) -> SourceFile:
        try:
            path = self.archive.files.locate(row.name)
        except ArchiveError:
            path = self.archive.files.received_path(row.name)  # reading it will say that it is gone
        return SourceFile(row.name, path, row.digest, row.convert)

    def _resolve(self, sop_instance: str) -> tuple[str, str] | None:
        row = self.archive.instance(sop_instance)
        return (row.study, row.series) if row else None

    def _referred(self, known: set[str]) -> Mapping[str, str]:
        found = self.archive.references_to(list(known))
        return {uid: row.sop_instance for uid, row in found if row.sop_instance not in known}

    def _progress(self, count: int) -> None:
        if self.stop():
            raise _Stopped

    def _put_in_order(self) -> None:
        """Clear up after an attempt that failed: it may have written its record and not got it into the index.

        Recipes that no record names then are of attempts that did not get that far.
        """
        self.archive.recover(self.policy.recover)
        known = {name for (name,) in self.archive.database.rows("SELECT name FROM derived")}
        for path in self.archive.files.derived.rglob("*.recipe"):
            if path.stem not in known:
                path.unlink()
        self._untidy = False


def settlements(instances: Mapping[str, str], result: StudyConversion) -> dict[str, Settlement]:
    """Return views and reason of every received instance of a conversion, given as SOP Instance UID by name."""
    return {name: Settlement(views_of(result, name), result.kept.get(name, "")) for name in instances}


def views_of(result: StudyConversion, name: str) -> View:
    """Return the views that a received instance is in after a conversion."""
    if name not in result.views:
        return ALL_VIEWS  # nobody could read it
    views = View.RECEIVED
    for view in result.views[name]:
        views |= view_named(view)
    return views


def derived_row(study: str, made: Converted) -> DerivedRow:
    """Return what the index holds of a new object."""
    recipe = made.recipe
    return DerivedRow(
        sop_instance=recipe.sop_instance,
        sop_class=recipe.sop_class,
        study=study,
        series=made.planned.series,
        name=recipe.path.stem,
        transfer_syntax=recipe.transfer_syntax,
        length=recipe.length,
        digest=recipe.digest,
        frames=[(fact.name, fact.sop_instance) for fact in made.planned.frames],
        attributes=top_level(recipe),
    )


def companion_row(made: Made) -> DerivedRow:
    """Return what the index holds of a new object that is no multi-frame image."""
    recipe, companion = made.recipe, made.companion
    views = View(0)
    for name in companion.views:
        views |= view_named(name)
    return DerivedRow(
        sop_instance=recipe.sop_instance,
        sop_class=recipe.sop_class,
        study=companion.study,
        series=companion.series,
        name=recipe.path.stem,
        transfer_syntax=recipe.transfer_syntax,
        length=recipe.length,
        digest=recipe.digest,
        frames=[(fact.name, fact.sop_instance) for fact in companion.sources],
        attributes=top_level(recipe) if companion.described is None else companion.described,
        views=views,
        references=companion.refers,
        kind="copy" if companion.replaces else "companion",
    )


def top_level(recipe: Recipe) -> DataSet:
    """Return the attributes of a new object outside of its frames."""
    with open(recipe.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as header:
        end = header.find(_PER_FRAME)
        return parse_dataset(header, 0, end if end >= 0 else recipe.header_length, Syntax())[0]
