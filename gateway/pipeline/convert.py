"""Converts studies that are complete, and settles what came in: into enhanced objects, or as it is with the reason.

A study is complete when nothing has come for a while: the archive schedules its job with every instance it admits and
thereby puts it off. What comes later is converted by a job of its own and joins the objects that exist.

Order is everything here: recipes are durable before the record that names them, the record before the index, the index
before a delivery is scheduled. Whatever is missing after a crash follows from what is there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from gateway.archive import collisions
from gateway.archive.arrears import Arrears
from gateway.archive.damage import RECIPE
from gateway.archive.durable import sync_folder
from gateway.archive.index import Archive
from gateway.archive.jobs import CONVERT, DELIVER, RUNNING, Job
from gateway.archive.patrol import Patrol
from gateway.archive.rows import DerivedRow, InstanceRow
from gateway.archive.senders import DIFFER
from gateway.archive.views import View, view_named
from gateway.conversion.classic import NEW, RESTORED
from gateway.conversion.headers import Headers
from gateway.conversion.held import Dependant, Held
from gateway.conversion.identity import Identity
from gateway.conversion.outcome import Converted, Made, StudyConversion
from gateway.conversion.study import SourceFile, convert_facts, gather_all
from gateway.errors import ArchiveError, DamagedError, ResourceError
from gateway.objects.recipe import top_level
from gateway.observe import LOGGER, event, fault, warning
from gateway.pipeline.correction import left_behind, withdrawals
from gateway.pipeline.dependants import awaited, guises
from gateway.pipeline.remake import LEFTOVERS, remade
from gateway.pipeline.retry import Backoff
from gateway.pipeline.sound import sound
from gateway.pipeline.work import Work

POLL = 0.2

# Pause after a trouble of our own.
TROUBLE = 2.0

# Attempts after which a study goes on as it is: something about it breaks the converter, and it must not stay for ever.
ATTEMPTS = 3

# Why a conversion was put off once, and how long after the other it comes.
AWAITS = "waits for another study that it refers to"
AFTER_OTHERS = 1.0

# Seconds between two moves of objects out of the intake folder.
CHECKPOINT_INTERVAL = 3.0


# What the index calls companions that are more to their sources than that (`DerivedRow`).
_KINDS = {NEW: "classic", RESTORED: "restored"}


class _Stopped(Exception):
    """The box ends; the job is still running when it starts again."""


class _Later(Exception):
    """A study is to be converted at another time, `due`."""

    def __init__(self, due: float) -> None:
        self.due = due


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
        self._arrears = Arrears(archive, policy.recover)
        self._untidy = False  # an attempt without room has left something
        self._patrol = Patrol(archive)
        self._mended: set[str] = set()

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
            held = self._settle(job)
        except _Stopped:
            return False
        except _Later as later:
            self._put_off(job, later.due, AWAITS)
            return True
        except ResourceError as error:
            self._without_room(job, str(error))
            return True
        except DamagedError as error:
            self._hold(job, str(error))
            return True
        except Exception as error:  # nothing about one study may end the box
            LOGGER.exception("conversion of %s", job.study)
            self._again(job, f"{type(error).__name__}: {error}")
            return True
        for study in self._touched(job.study):
            for destination in self.policy.destinations:
                self.jobs.schedule(DELIVER, study, destination)
        if held:
            self._hold(job, held)
        else:
            self.jobs.finish(job)
        return True

    def _hold(self, job: Job, reason: str) -> None:
        """Keep a study, or what of it is damaged, until there is another copy or somebody looks."""
        warning("convert.held", study=job.study, reason=reason)
        self.jobs.hold(job, reason, counted=False)

    def _touched(self, study: str) -> list[str]:
        """Return the studies that the latest conversion of a study has made something in: copies may be in others."""
        try:
            records = self.archive.partitions(study)
        except DamagedError:  # it is named; what is new in other studies is not known
            return [study]
        others = {made["study"] for made in records[-1]["companions"]} if records else set()
        return [study, *sorted(others - {study})]

    def housekeeping(self) -> None:
        """Move what the index knows durably out of the intake folder, and try what it does not take again."""
        now = self.archive.clock.monotonic()
        if now - self._checkpointed >= CHECKPOINT_INTERVAL:
            self._checkpointed = now
            self.archive.checkpoint()
            self._arrears.step()
            self._patrol.step()
            self._mend()

    def _mend(self) -> None:
        """Have recipes made again that somebody has found damaged; once, then whenever the study is looked at."""
        for damage in self.archive.damage.listing():
            if damage.kind == RECIPE and damage.name not in self._mended:
                self._mended.add(damage.name)
                self.jobs.schedule(CONVERT, damage.study)

    def _again(self, job: Job, reason: str) -> None:
        delay = self.policy.backoff.delay(job.attempts + 1)
        warning("convert.retry", study=job.study, reason=reason, attempts=job.attempts + 1, again_in=round(delay, 1))
        self.jobs.retry(job, reason, self.archive.clock.now() + delay)

    def _without_room(self, job: Job, reason: str) -> None:
        """Wait for room on the disk: the study is not to blame, so that this is no attempt."""
        delay = self.policy.backoff.delay(4)
        due = self.archive.clock.now() + delay
        warning("convert.no_room", study=job.study, reason=reason, again_in=round(delay, 1))
        self._put_off(job, due, reason)
        self._untidy = True

    def _put_off(self, job: Job, due: float, reason: str) -> None:
        """Have a job done later, without counting this as an attempt."""
        self.jobs.schedule(CONVERT, job.study, not_before=due)
        self.jobs.finish(job)
        self.jobs.schedule(CONVERT, job.study, not_before=due, reason=reason)

    # One study

    def _settle(self, job: Job) -> str:
        """Decide about everything in a study that nothing was decided about; return why something is held."""
        if job.attempts or self._untidy:
            self._put_in_order()
        unmade = remade(self.archive, job.study, self.policy.identity, lambda: self._progress(0))
        rows = self.archive.unsettled(job.study)
        if not rows and not left_behind(self.archive, job.study):
            return unmade
        self._wait_for_others(job)
        started = self.archive.clock.monotonic()
        found = sound(self.archive, job.study, rows, lambda: self._progress(0))
        del rows
        held = "; ".join(filter(None, (unmade, found.reason)))
        if found.work is None:
            return held
        work, found.work = found.work, None
        if job.attempts < ATTEMPTS:
            result = self._convert(work)
        else:
            reason = f"conversion given up after {job.attempts} attempts: {job.reason}"
            LOGGER.error("%s of study %s", reason, job.study)
            result = StudyConversion(kept=dict.fromkeys(work.instances, reason))
        result.withdrawn = (*work.withdrawn, *result.withdrawn)
        recipes = [made.recipe for made in result.objects] + [made.recipe for made in result.companions]
        for folder in sorted({recipe.path.parent for recipe in recipes}):
            sync_folder(folder)
        fault("convert.before_record")
        derived = [derived_row(job.study, converted) for converted in result.objects]
        derived += [companion_row(made, work.priors) for made in result.companions]
        settled = work.settlements(result) | withdrawals(self.archive, job.study, result.withdrawn)
        self.archive.record_conversion(job.study, derived, settled, result.record(job.study), result.standing)
        fault("convert.after_index")
        self._tell(job, work, result, self.archive.clock.monotonic() - started)
        return held

    def _wait_for_others(self, job: Job) -> None:
        """Let studies go first that instances of this one refer to; once, as those may wait for others in turn."""
        if job.reason == AWAITS:
            return
        others = set(awaited(self.archive, job.study))
        due = [other.not_before for other in self.jobs.listing() if other.kind == CONVERT and other.study in others]
        if due:
            raise _Later(max(*due, self.archive.clock.now()) + AFTER_OTHERS)

    def _tell(self, job: Job, work: Work, result: StudyConversion, seconds: float) -> None:
        if work.several:
            warning("convert.other_images", study=job.study, **collisions.summary(work.several))
        for series, peers in work.parted.items():
            warning("convert.senders_differ", study=job.study, series=series, peers=",".join(peers), remedy=DIFFER)
        for who in result.unsigned:
            warning("convert.unsigned", study=job.study, instance=who, reason="its signatures are over other bytes")
        if result.unresolved:
            count, (target, who) = len(result.unresolved), next(iter(result.unresolved.items()))
            warning("convert.unresolved", study=job.study, targets=count, first=target, instance=who)
        event(
            "convert.done",
            study=job.study,
            instances=len(work.instances),
            objects=len(result.objects) + len(result.companions),
            unchanged=len(result.kept),
            seconds=round(seconds, 2),
        )

    def _convert(self, work: Work) -> StudyConversion:
        headers = Headers()
        sources = (self._source(row, work.parted) for row in work.sources())
        facts, unreadable = gather_all(sources, headers, self._progress)
        settled, _ = gather_all(map(self._source, work.dependants.rows), headers)
        held = Held(
            dependants=[Dependant(fact, work.dependants.views[fact.name]) for fact in settled],
            guises=lambda uids: guises(self.archive, list(uids), work.withdrawn),
            members=lambda uids: self.archive.members(list(uids)),
            last_number=self.archive.last_number,
            fixed=work.dependants.fixed,
        )
        result = convert_facts(
            facts,
            self.archive.files.recipe_path,
            identity=self.policy.identity,
            frozen=work.frozen,
            resolve=self._resolve,
            held=held,
            headers=headers,
            progress=self._progress,
        )
        result.kept.update(unreadable)
        return result

    def _source(self, row: InstanceRow, parted: Collection[str] = ()) -> SourceFile:
        try:
            path = self.archive.files.locate(row.name)
        except ArchiveError:
            path = self.archive.files.received_path(row.name)  # reading it will say that it is gone
        origin = row.peer if row.series in parted else ""
        return SourceFile(row.name, path, row.digest, row.convert and not row.prior, origin)

    def _resolve(self, sop_instance: str) -> tuple[str, str] | None:
        row = self.archive.instance(sop_instance)
        return (row.study, row.series) if row else None

    def _progress(self, count: int) -> None:
        if self.stop():
            raise _Stopped

    def _put_in_order(self) -> None:
        """Clear up after an attempt that failed: it may have written its record and not got it into the index.

        Recipes that no record names then are of attempts that did not get that far.
        """
        self.archive.recover(self.policy.recover)
        for folder in self.archive.files.derived.glob(LEFTOVERS):
            shutil.rmtree(folder, ignore_errors=True)
        known = {name for (name,) in self.archive.database.rows("SELECT name FROM derived")}
        for path in self.archive.files.derived.rglob("*.recipe"):
            if path.stem not in known:
                path.unlink()
        self._untidy = False


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


def companion_row(made: Made, priors: Collection[str]) -> DerivedRow:
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
        kind=_KINDS.get(companion.kind, "copy" if companion.replaces else "companion"),
        prior=any(fact.name in priors for fact in companion.sources),
    )
