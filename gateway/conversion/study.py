"""A whole conversion: gather, plan, build and prove the instances of a study, with memory for one header at a time."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.conversion.build import build
from gateway.conversion.evidence import Resolve
from gateway.conversion.facts import Facts, gather
from gateway.conversion.headers import Headers
from gateway.conversion.held import NOTHING, VIEWS, Dependant, Held
from gateway.conversion.identity import Identity
from gateway.conversion.outcome import Converted, Made, StudyConversion
from gateway.conversion.plan import make_plan
from gateway.conversion.planned import Frozen, Plan, Planned, Unplannable
from gateway.conversion.proof import prove
from gateway.errors import GatewayError, ResourceError
from gateway.objects.part10 import Header
from gateway.objects.recipe import Recipe, seal
from gateway.objects.stream import Sink
from gateway.observe import fault, warning

# The box is short of something: no fault of what is converted, which must not stay classic for ever because of it.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to convert.

    Attributes
    ----------
    name : str
        What recipes call it.
    path : Path
        Where it is.
    digest : str
        BLAKE3-128 of its data set bytes.
    convert : bool
        False if it shall be passed on as it is.
    origin : str
        Set where what comes from different senders must not share an object.
    """

    name: str
    path: Path
    digest: str
    convert: bool = True
    origin: str = ""


def gather_all(
    sources: Iterable[SourceFile], headers: Headers, progress: Callable[[int], None] = lambda count: None
) -> tuple[list[Facts], dict[str, str]]:
    """Read the facts of files; a file that cannot be read is named with the reason.

    Parameters
    ----------
    sources : iterable of SourceFile
        The files.
    headers : Headers
        Gets what was read, for `convert_facts`.
    progress : callable
        Told how many files were read since the last call.

    Returns
    -------
    list of Facts
        Of every readable file.
    dict of str to str
        Reason by name for the others.
    """
    facts, unreadable = [], {}
    for source in sources:
        try:
            header = headers.read(source.path)
            fact = gather(source.name, source.path, source.digest, header, convert=source.convert, origin=source.origin)
            headers.keep(fact, header)
            facts.append(fact)
        except (GatewayError, OSError) as error:
            unreadable[source.name] = str(error)
        progress(1)
    return facts, unreadable


def convert_facts(
    facts: Sequence[Facts],
    recipe_path: Callable[[str], Path],
    *,
    identity: Identity,
    frozen: Sequence[Frozen] = (),
    resolve: Resolve = lambda uid: None,
    held: Held = NOTHING,
    headers: Headers | None = None,
    sink: Callable[[Recipe], Sink] | None = None,
    progress: Callable[[int], None] = lambda count: None,
    views: Collection[str] = VIEWS,
) -> StudyConversion:
    """Convert instances of one study, or of one patient.

    A group whose conversion fails is kept classic with the reason, and the rest is planned again without it, so that
    no reference points at an object that does not exist.

    Parameters
    ----------
    facts : sequence of Facts
        The instances.
    recipe_path : callable
        Path of the recipe file to write, by SOP Instance UID.
    identity : Identity
        Settings that enter UIDs and Contributing Equipment.
    frozen : sequence of Frozen
        What was decided earlier on for this study.
    resolve : callable
        Study and series of instances that are held but not among `facts`.
    held : Held
        What is known beyond `facts`.
    headers : Headers, optional
        Headers of `facts` that were read already.
    sink : callable
        What takes the bytes of an image while they are proved. Its recipe then is no complete file: it has served.
    progress : callable
        Told how many frames were done since the last call.
    views : collection of str
        The views to make, enhanced and classic.

    Raises
    ------
    ResourceError
        If the disk does not take a recipe.
    """
    places = {fact.sop_instance: (fact.study, fact.series) for fact in facts}
    places.update((one.facts.sop_instance, (one.facts.study, one.facts.series)) for one in held.dependants)

    def place_of(uid: str) -> tuple[str, str] | None:
        return places.get(uid) or resolve(uid)

    read = headers or Headers()
    failed: dict[str, str] = {}
    stuck: dict[str, str] = {}
    while True:
        usable = [_refused(fact, failed, stuck) for fact in facts]
        settled = [Dependant(_refused(one.facts, {}, stuck), one.views) for one in held.dependants]
        try:
            plan = make_plan(
                usable,
                identity,
                frozen=frozen,
                held=replace(held, dependants=settled),
                resolve=place_of,
                read=read,
                views=views,
            )
        except Unplannable as error:
            failed[error.subject] = f"it cannot be converted: {error.problem}"
            continue
        result = _begun(plan, facts, [one.facts for one in settled])
        result.four_d = identity.four_d
        for planned in plan.objects:
            fault("convert.object")
            try:
                converted = _convert(planned, plan, recipe_path, identity, place_of, read, sink)
            except Exception as error:  # whatever is wrong with one group, the study goes on
                _raise_if_short(error, planned.sop_instance)
                warning("convert.failed", series=planned.source_series, frames=len(planned.frames), reason=error)
                failed.update((fact.name, f"its conversion failed: {error}") for fact in planned.frames)
                break
            result.objects.append(converted)
            progress(len(planned.frames))
        else:
            if _make_companions(plan, recipe_path, result, failed, stuck, progress):
                return result
        for converted in result.objects:
            converted.recipe.path.unlink(missing_ok=True)
            progress(-len(converted.planned.frames))
        for made in result.companions:
            made.recipe.path.unlink(missing_ok=True)


def _begun(plan: Plan, facts: Sequence[Facts], settled: Sequence[Facts]) -> StudyConversion:
    """Return what a plan says of a conversion before anything is made."""
    made_of = {fact.name for planned in plan.objects for fact in planned.frames}
    twins = set(plan.twins.values())
    made_of.update(fact.name for companion in plan.companions if companion.replaces for fact in companion.sources)
    return StudyConversion(
        kept=plan.kept,
        twins=plan.twins,
        spare=plan.spare,
        withdrawn=tuple(plan.obsolete),
        views=plan.views,
        unresolved=plan.unresolved,
        standing={
            fact.sop_instance: fact.conversion_sources
            for fact in (*facts, *settled)
            if fact.name in plan.spare or fact.sop_instance in twins
        }
        | {
            fact.sop_instance: tuple(target.sop_instance for target in plan.turned_back[fact.name])
            for fact in facts
            if fact.name in plan.turned_back
        },
        at_hand=frozenset(plan.at_hand),
        unsigned=sorted(fact.sop_instance for fact in facts if fact.signed and fact.name in made_of),
    )


def _make_companions(
    plan: Plan,
    recipe_path: Callable[[str], Path],
    result: StudyConversion,
    failed: dict[str, str],
    stuck: dict[str, str],
    progress: Callable[[int], None],
) -> bool:
    """Make the companions of a plan; False if one failed.

    Its sources then are in `failed`, or in `stuck` if what failed was to rewrite their references.
    """
    for companion in plan.companions:
        fault("convert.companion")
        progress(0)
        path = recipe_path(companion.sop_instance)
        try:
            recipe = companion.build(path)
            seal(recipe, companion.prove(recipe))
        except Exception as error:  # whatever is wrong with one object, the study goes on
            path.unlink(missing_ok=True)
            _raise_if_short(error, companion.sop_instance)
            warning("convert.failed", series=companion.series, kind=companion.kind, reason=error)
            reasons = stuck if companion.replaces else failed
            reasons.update((fact.name, f"its conversion failed: {error}") for fact in companion.sources)
            return False
        result.companions.append(Made(recipe, companion))
    return True


def _raise_if_short(error: Exception, sop_instance: str) -> None:
    """Raise if it is the box that is short of something."""
    if isinstance(error, ResourceError) or getattr(error, "errno", None) in NO_ROOM:
        raise ResourceError(sop_instance, "cannot be written", found=str(error)) from error


def _refused(fact: Facts, failed: Mapping[str, str], stuck: Mapping[str, str]) -> Facts:
    if fact.name in failed or fact.name in stuck:
        reason, fixed = failed.get(fact.name, fact.reason), stuck.get(fact.name, fact.fixed)
        return replace(fact, reason=reason, fixed=fixed)
    return fact


def _convert(
    planned: Planned,
    plan: Plan,
    recipe_path: Callable[[str], Path],
    identity: Identity,
    resolve: Resolve,
    read: Callable[[Facts], Header],
    sink: Callable[[Recipe], Sink] | None,
) -> Converted:
    by_name = {fact.name: fact for fact in planned.frames}

    def locate(name: str) -> Path:
        return by_name[name].path

    recipe = build(
        planned,
        recipe_path(planned.sop_instance),
        identity=identity,
        became=plan.became,
        resolve=resolve,
        read=read,
    )
    try:
        if sink is None:
            seal(recipe, prove(recipe, planned.frames, plan.became, locate))
        else:
            with sink(recipe) as passed:
                prove(recipe, planned.frames, plan.became, locate, passed)
    except BaseException:
        recipe.path.unlink(missing_ok=True)
        raise
    return Converted(recipe, planned)
