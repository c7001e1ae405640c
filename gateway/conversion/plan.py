"""The first phase of a conversion: which instances form which object, under which UIDs (PS3.4 C.3.5).

The plan alone fixes UID, class, series and frame number of everything new, so that headers can be built afterwards with
every reference resolvable. It depends on the contents of the sources, on what was decided before (`Frozen`), on the
identity settings and on the conversion edition, and on nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from gateway.conversion.classic import ClassicPlan, plan_classic
from gateway.conversion.closure import closed_under_references
from gateway.conversion.default_windows import default_windows
from gateway.conversion.facts import Facts
from gateway.conversion.following import Following
from gateway.conversion.grouping import find_twins, frame_order, grouped
from gateway.conversion.held import CLASSIC, ENHANCED, NOTHING, VIEWS, Held
from gateway.conversion.identity import Identity
from gateway.conversion.layout import Part, laid_out
from gateway.conversion.looks import Looks
from gateway.conversion.naming import assign_series
from gateway.conversion.padding import padded_alike
from gateway.conversion.pixels import PixelPlan, plan_pixels
from gateway.conversion.planned import Frozen, Plan, Planned, Unplannable, frozen_targets
from gateway.conversion.presentation import presentation_states
from gateway.conversion.references import Target
from gateway.conversion.refusals import ALREADY_ENHANCED
from gateway.conversion.related import source_series
from gateway.conversion.scattered import without_scattered
from gateway.conversion.spacing import stated_of
from gateway.conversion.split_images import with_split_images
from gateway.conversion.statements import Statements
from gateway.conversion.survey import Survey
from gateway.conversion.top_level import series_elements
from gateway.conversion.true_enhanced import Decision, missing_places, rehomed
from gateway.conversion.window_needs import Window
from gateway.errors import GatewayError
from gateway.objects.encode import encode
from gateway.objects.part10 import Header, read_header
from gateway.standard.sop_classes import CONVERSIONS


def make_plan(
    facts: Sequence[Facts],
    identity: Identity,
    *,
    frozen: Sequence[Frozen] = (),
    held: Held = NOTHING,
    resolve: Callable[[str], tuple[str, str] | None] = lambda uid: None,
    read: Callable[[Facts], Header] = lambda fact: read_header(fact.path),
    views: Collection[str] = VIEWS,
) -> Plan:
    """Decide what becomes of instances of one study, or of one patient.

    Parameters
    ----------
    facts : sequence of Facts
        The instances not decided on yet.
    identity : Identity
        Settings that enter UIDs.
    frozen : sequence of Frozen
        Derived objects of this study that exist already.
    held : Held
        What is known beyond `facts`.
    resolve : callable
        Study and series of instances that are held, by SOP Instance UID.
    read : callable
        Reads a header again.
    views : collection of str
        The views to make: nothing becomes enhanced without the one, nothing classic without the other.

    Returns
    -------
    Plan

    Raises
    ------
    Unplannable
        If an instance that looked fine cannot become a frame.
    """
    plan = Plan(targets=frozen_targets(frozen, facts[0].study if facts else ""))
    ordered = sorted(with_split_images(facts), key=frame_order)
    settled = sorted((one.facts for one in held.dependants), key=frame_order)
    find_twins([*ordered, *settled], plan)
    images = _classic(ordered, settled, plan, identity, held, resolve) if CLASSIC in views else ClassicPlan()
    groups = without_scattered(list(grouped(ordered, plan)), plan, read)
    if ENHANCED not in views:
        plan.kept.update((fact.name, "classic already") for group in groups for fact in group)
        groups = []
    groups, kept = closed_under_references(groups, [*ordered, *settled], plan, held.fixed)
    windows = default_windows(groups, frozen, read)
    for group in groups:
        plan.objects.extend(_objects(group, windows, read, identity.four_d))
    assign_series(plan.objects, identity, frozen)
    following = Following(plan, ordered, held, identity, resolve, turning_back=ENHANCED not in views)
    following.follow(frozen, kept)
    for enhanced in images.objects:
        enhanced.became = following.classic
    plan.companions.extend(images.images)
    plan.companions = [companion for companion in plan.companions if not set(companion.views).isdisjoint(views)]
    for planned in plan.objects:
        planned.states = presentation_states(planned, identity)
        plan.companions.extend(planned.states)
        for number, fact in enumerate(planned.frames, 1):
            plan.targets[fact.sop_instance] = Target(
                planned.sop_class, planned.sop_instance, planned.series, fact.study, number, len(planned.frames)
            )
    return plan


def _classic(
    facts: Sequence[Facts],
    settled: Sequence[Facts],
    plan: Plan,
    identity: Identity,
    held: Held,
    resolve: Callable[[str], tuple[str, str] | None],
) -> ClassicPlan:
    """Turn enhanced objects back whose classic images are not all held; classic ones that are held are their twins."""
    twins = set(plan.twins.values())
    by_uid = {fact.sop_instance: fact for fact in reversed([*facts, *settled])}
    alone = [fact for fact in facts if fact.name not in plan.spare and fact.sop_instance not in twins]

    def place(uid: str) -> tuple[str, str] | None:
        return (by_uid[uid].study, by_uid[uid].series) if uid in by_uid else resolve(uid)

    images = plan_classic(alone, identity, place=place, last_number=held.last_number)
    plan.turned_back.update(images.targets)
    plan.kept.update((name, f"{ALREADY_ENHANCED}; {reason}") for name, reason in images.kept.items())
    apart = {one.facts.name for one in held.dependants if CLASSIC not in one.views}
    for fact in (*facts, *settled):
        if fact.name in plan.turned_back or fact.name in apart:
            for uid in fact.conversion_sources:
                source = by_uid.get(uid)
                if source is not None and source.name not in plan.twins and source in facts:
                    plan.twins[source.name] = fact.sop_instance
                    plan.kept[source.name] = f"its enhanced twin {fact.sop_instance} was received"
    return images


def _objects(
    group: list[Facts], windows: Mapping[str, Window], read: Callable[[Facts], Header], four_d: str
) -> Iterator[Planned]:
    """Lay out a group and survey its parts."""
    alike = list(padded_alike(group))
    for frames, padding in alike:
        for part in laid_out(frames, four_d):
            # A part whose sources know no padding has none, whatever stands beside it.
            own = padding if any(fact.description.padding is not None for fact in part.frames) else None
            why = f"Pixel Padding Value {own}" if len(alike) > 1 and own is not None else ""
            pixels = plan_pixels(part.frames[0].modality, [fact.description for fact in part.frames], own)
            statements = stated_of(part, windows.get(part.frames[0].series))
            yield _planned(replace(part, why=", ".join(filter(None, (why, part.why)))), pixels, statements, read)


def _planned(part: Part, pixels: PixelPlan, statements: Statements, read: Callable[[Facts], Header]) -> Planned:
    """Plan the object that frames become: of the true Enhanced class if they have all that it demands."""
    frames, indices = part.frames, part.indices
    modality = frames[0].modality
    added = frozenset(pixels.elements)
    survey = Survey(modality, added=added, pixels=pixels.elements, apart=indices.with_each_frame)
    decision, looks = Decision(modality), Looks(statements)
    decision.missing.extend(missing_places(indices, modality))

    def take(fact: Facts, header: Header) -> None:
        ds = statements.of(header.dataset, fact.description)
        survey.add(ds)
        if not decision.missing:
            decision.add(ds | pixels.elements)
        looks.add(header, inverted=fact.description.inverted)

    _each(frames, read, take)
    row = CONVERSIONS[modality]
    if decision.missing:
        missing = tuple(decision.missing)
        planned = Planned(modality, frames, survey, pixels, indices, row.legacy, statements, missing=missing)
    else:
        top = added | frozenset(decision.top)
        survey = Survey(modality, legacy=False, added=top, pixels=pixels.elements, apart=indices.with_each_frame)
        _each(frames, read, lambda fact, header: survey.add(statements.of(header.dataset, fact.description)))
        indices = rehomed(indices, survey.groups, modality)
        planned = Planned(modality, frames, survey, pixels, indices, row.enhanced, statements, demanded=decision.top)
    planned.series_attributes = _series_digest(survey, frames[0])
    planned.looks = looks.found()
    planned.why = part.why
    return planned


def _each(frames: list[Facts], read: Callable[[Facts], Header], take: Callable[[Facts, Header], None]) -> None:
    """Give every source and its header to `take`."""
    for fact in frames:
        try:
            take(fact, read(fact))
        except (GatewayError, OSError, ValueError) as error:
            raise Unplannable(fact.name, str(error)) from error


def _series_digest(survey: Survey, fact: Facts) -> str:
    """Return what must be the same for two objects to share a series: patient and study, and series attributes.

    The source series as a related one is among them: objects of the first edition lack it, and get no companions.
    """
    attributes = encode(series_elements(survey)) + encode(source_series(fact.study, fact.series))
    return hashlib.blake2b(fact.key[-1].encode() + attributes, digest_size=16).hexdigest()
