"""The first phase of a conversion: which instances form which object, under which UIDs (PS3.4 C.3.5).

The plan alone fixes UID, class, series and frame number of everything new, so that headers can be built afterwards with
every reference resolvable. It depends on the contents of the sources, on what was decided before (`Frozen`), on the
identity settings and on the conversion edition, and on nothing else.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.conversion.dimensions import Indices, index
from gateway.conversion.facts import Facts
from gateway.conversion.identity import EDITION, Identity
from gateway.conversion.references import Target
from gateway.conversion.survey import Survey
from gateway.conversion.top_level import series_elements
from gateway.errors import ConversionError, GatewayError
from gateway.objects.encode import encode
from gateway.objects.part10 import Header, read_header
from gateway.objects.uids import derived_uid
from gateway.standard.sop_classes import CONVERSIONS

# An object stays below 2 GiB, its header included: many readers count in signed 32-bit numbers.
LARGEST_PIXELS = (2 << 30) - (64 << 20)

# Direction cosines closer than this are one orientation: scanners jitter in the last digits.
SAME_ORIENTATION = 1e-3


class Unplannable(ConversionError):
    """An instance cannot become a frame, which shows only when it is looked at closely; `subject` is its name."""


@dataclass(frozen=True)
class Frozen:
    """A derived object that was decided on earlier and stays as it is.

    Attributes
    ----------
    sop_class, sop_instance, series, source_series : str
        Its identity, and the series its sources came from.
    instance_number : int
        Its number in the derived series.
    series_attributes : str
        Digest of its series-level attributes, Series Date and Time apart.
    series_start : tuple of str
        Its Series Date and Time.
    frames : tuple of (str, str)
        Source SOP Instance UID and digest of every frame.
    withdrawn : bool
        Whether a corrected source has made it obsolete: only its place in its series counts still.
    """

    sop_class: str
    sop_instance: str
    series: str
    source_series: str
    instance_number: int
    series_attributes: str
    series_start: tuple[str, str]
    frames: tuple[tuple[str, str], ...]
    withdrawn: bool = False


@dataclass
class Planned:
    """An object to be made.

    Attributes
    ----------
    modality : str
        Row of table C.3.5-1.
    frames : list of Facts
        Its sources in frame order.
    survey : Survey
        What they have in common.
    indices : Indices
        Their dimension index values.
    """

    modality: str
    frames: list[Facts]
    survey: Survey
    indices: Indices
    sop_class: str
    sop_instance: str = ""
    series: str = ""
    instance_number: int = 1
    series_attributes: str = ""
    series_start: tuple[str, str] = ("", "")

    @property
    def source_series(self) -> str:
        """Series Instance UID of the sources."""
        return self.frames[0].series


@dataclass
class Plan:
    """What becomes of a set of instances.

    Attributes
    ----------
    objects : list of Planned
        Objects to be made.
    kept : dict of str to str
        Reason by name, for every instance that stays as it is.
    twins : dict of str to str
        SOP Instance UID of the received enhanced twin by name, for every instance that has one (G23).
    spare : set of str
        Names of received enhanced objects whose sources were converted before they came: second guises.
    targets : dict of str to Target
        What became of every converted source, by SOP Instance UID.
    """

    objects: list[Planned] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    twins: dict[str, str] = field(default_factory=dict)
    spare: set[str] = field(default_factory=set)
    targets: dict[str, Target] = field(default_factory=dict)


def make_plan(
    facts: Sequence[Facts],
    identity: Identity,
    *,
    frozen: Sequence[Frozen] = (),
    referred: Callable[[Iterable[str]], Mapping[str, str]] = lambda uids: {},
    resolve: Callable[[str], tuple[str, str] | None] = lambda uid: None,
    read: Callable[[Facts], Header] = lambda fact: read_header(fact.path),
) -> Plan:
    """Decide what becomes of instances of one study.

    Parameters
    ----------
    facts : sequence of Facts
        The instances not decided on yet.
    identity : Identity
        Settings that enter UIDs.
    frozen : sequence of Frozen
        Derived objects of this study that exist already.
    referred : callable
        Of some SOP Instance UIDs, those that objects not among `facts` refer to, with who does.
    resolve : callable
        Study and series of instances that are held, by SOP Instance UID.
    read : callable
        Reads a header again.

    Returns
    -------
    Plan

    Raises
    ------
    Unplannable
        If an instance that looked fine cannot become a frame.
    """
    plan = Plan(targets=frozen_targets(frozen, facts[0].study if facts else ""))
    ordered = sorted(facts, key=_frame_order)
    _find_twins(ordered, plan)
    groups = list(_groups(ordered, plan))
    groups = _closed_under_references(groups, ordered, plan, referred)
    for group in groups:
        plan.objects.extend(_objects(group, plan, read))
    _assign_series(plan.objects, identity, frozen)
    _assign_uids(plan.objects, identity, plan.targets, resolve)
    for planned in plan.objects:
        for number, fact in enumerate(planned.frames, 1):
            plan.targets[fact.sop_instance] = Target(
                planned.sop_class, planned.sop_instance, planned.series, fact.study, number
            )
    return plan


def _frame_order(fact: Facts) -> tuple:
    """Frames go by Instance Number, as users page through the classic series."""
    return fact.series, fact.instance_number, fact.sop_instance, fact.digest


def frozen_targets(frozen: Sequence[Frozen], study: str) -> dict[str, Target]:
    """Return the reference map of derived objects that exist already."""
    return {
        uid: Target(item.sop_class, item.sop_instance, item.series, study, number)
        for item in frozen
        if not item.withdrawn
        for number, (uid, _) in enumerate(item.frames, 1)
    }


def _find_twins(facts: Sequence[Facts], plan: Plan) -> None:
    """Pair received enhanced objects with held sources: what has a twin is not converted again (G23)."""
    held = {fact.sop_instance: fact for fact in facts}
    for fact in facts:
        sources = fact.conversion_sources
        if sources and all(uid in plan.targets for uid in sources):
            plan.kept[fact.name] = "received enhanced after its sources had been converted"
            plan.spare.add(fact.name)
        elif sources and all(uid in held for uid in sources):
            plan.kept[fact.name] = "received enhanced; its sources are held"
            for uid in sources:
                plan.twins[held[uid].name] = fact.sop_instance
                plan.kept[held[uid].name] = f"its enhanced twin {fact.sop_instance} was received"


def _groups(ordered: Sequence[Facts], plan: Plan) -> Iterator[list[Facts]]:
    """Yield instances that can share an object; the others are kept with their reason."""
    copies: dict[str, int] = defaultdict(int)
    for fact in ordered:
        copies[fact.sop_instance] += 1
    clusters: dict[tuple, list[list[Facts]]] = defaultdict(list)
    for fact in ordered:
        if fact.name in plan.kept:
            continue
        reason = fact.reason
        if copies[fact.sop_instance] > 1:
            reason = "another file has the same SOP Instance UID"
        if fact.sop_instance in plan.targets:
            reason = reason or "a corrected version of an image that was converted already"
        if reason:
            plan.kept[fact.name] = reason
            continue
        for cluster in clusters[fact.key]:
            if _close(cluster[0].orientation, fact.orientation):
                cluster.append(fact)
                break
        else:
            clusters[fact.key].append([fact])
    for candidates in clusters.values():
        yield from candidates


def _close(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(abs(a - b) < SAME_ORIENTATION for a, b in zip(one, other, strict=True))


def _closed_under_references(
    groups: list[list[Facts]],
    facts: Sequence[Facts],
    plan: Plan,
    referred: Callable[[Iterable[str]], Mapping[str, str]],
) -> list[list[Facts]]:
    """Drop groups that an object refers to whose references cannot be rewritten, until nothing changes any more."""
    blocked = {uid: f"instance {who}" for uid, who in referred([f.sop_instance for g in groups for f in g]).items()}
    converted = {fact.name for group in groups for fact in group}
    for fact in facts:
        if fact.name in converted:
            blocked.update((uid, f"instance {fact.sop_instance}") for uid in fact.other_references)
        elif fact.name not in plan.twins:
            _block(fact, blocked)
    while True:
        closed = [group for group in groups if not any(fact.sop_instance in blocked for fact in group)]
        if len(closed) == len(groups):
            return groups
        for group in groups:
            if group in closed:
                continue
            who = next(blocked[fact.sop_instance] for fact in group if fact.sop_instance in blocked)
            for fact in group:
                plan.kept[fact.name] = f"{who} refers to it, whose references cannot be rewritten yet"
                _block(fact, blocked)
        groups = closed


def _block(fact: Facts, blocked: dict[str, str]) -> None:
    for uid in (*fact.references, *fact.other_references):
        blocked.setdefault(uid, f"instance {fact.sop_instance}")


def _objects(group: list[Facts], plan: Plan, read: Callable[[Facts], Header]) -> Iterator[Planned]:
    """Split a group by size and survey the parts."""
    parts = max(1, -(-sum(fact.pixel_bytes for fact in group) // LARGEST_PIXELS))
    each = -(-len(group) // parts)
    for start in range(0, len(group), each):
        frames = group[start : start + each]
        modality = frames[0].modality
        survey = Survey(modality)
        for fact in frames:
            try:
                survey.add(read(fact).dataset)
            except (GatewayError, OSError, ValueError) as error:
                raise Unplannable(fact.name, str(error)) from error
        yield Planned(
            modality,
            frames,
            survey,
            index(frames),
            CONVERSIONS[modality].legacy,
            series_attributes=_series_digest(survey, frames[0]),
        )


def _series_digest(survey: Survey, fact: Facts) -> str:
    """Return what must be the same for two objects to share a series: patient and study, and series attributes."""
    return hashlib.blake2b(fact.key[-1].encode() + encode(series_elements(survey)), digest_size=16).hexdigest()


def _assign_series(objects: Sequence[Planned], identity: Identity, frozen: Sequence[Frozen]) -> None:
    """Give every object its series, number and UIDs.

    Objects of one source series whose series-level attributes agree share a derived series (G11). A late object joins
    a series that exists if its attributes hold for it, which includes that it started no earlier.
    """
    by_series: dict[tuple[str, str], list[Planned]] = defaultdict(list)
    for planned in objects:
        by_series[planned.source_series, planned.series_attributes].append(planned)
    for (source_series, attributes), members in by_series.items():
        start = min((planned.survey.series_start for planned in members), key=lambda s: (not s[0], s))
        older = [f for f in frozen if (f.source_series, f.series_attributes) == (source_series, attributes)]
        joined = [f for f in older if f.series_start <= start]
        if joined:
            uid, start = joined[0].series, joined[0].series_start
            number = max(item.instance_number for item in joined if item.series == uid)
        else:
            contents = [part for planned in members for part in _contents(planned)]
            uid, number = _uid("series", identity, source_series, attributes, *contents), 0
        for planned in members:
            number += 1
            planned.series, planned.instance_number, planned.series_start = uid, number, start


def _assign_uids(
    objects: Sequence[Planned],
    identity: Identity,
    frozen: Mapping[str, Target],
    resolve: Callable[[str], tuple[str, str] | None],
) -> None:
    """Give every object its SOP Instance UID.

    Its bytes follow from its sources and from what those refer to, directly or through other new objects: whether a
    target is converted, and where it is. So does the UID: one UID never stands for two contents.
    """
    owners = {fact.sop_instance: planned for planned in objects for fact in planned.frames}

    contents = {
        id(planned): _uid("content", identity, planned.series, str(planned.instance_number), *_contents(planned))
        for planned in objects
    }

    def targets(planned: Planned) -> Iterator[str]:
        for uid in sorted({uid for fact in planned.frames for uid in fact.references}):
            owner = owners.get(uid)
            if owner is not None:
                yield f"{uid} {contents[id(owner)]}"
            elif uid in frozen:
                yield f"{uid} {frozen[uid].sop_instance} {frozen[uid].frame}"
            else:
                yield f"{uid} {resolve(uid)}"

    for planned in objects:
        reached: list[Planned] = [planned]
        for other in reached:
            found = {id(owners[uid]): owners[uid] for f in other.frames for uid in f.references if uid in owners}
            reached.extend(one for one in found.values() if one not in reached)
        closure = sorted(f"{contents[id(other)]} {part}" for other in reached for part in targets(other))
        planned.sop_instance = _uid("object", identity, contents[id(planned)], *closure)


def _contents(planned: Planned) -> list[str]:
    return [part for fact in planned.frames for part in (fact.sop_instance, fact.digest)]


def _uid(purpose: str, identity: Identity, *parts: str) -> str:
    return derived_uid(purpose, "enhanced", str(EDITION), *identity.parts, *parts)
