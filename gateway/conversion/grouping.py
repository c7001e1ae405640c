"""Which instances can share an object, and which have an enhanced twin already (PS3.4 C.3.5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from gateway.conversion.dimensions import SAME_POSITION, distances_along, one_orientation
from gateway.conversion.facts import Facts
from gateway.conversion.planned import Plan


def frame_order(fact: Facts) -> tuple:
    """Frames go by Instance Number, as users page through the classic series."""
    return fact.series, fact.instance_number, fact.sop_instance, fact.digest


def find_twins(facts: Sequence[Facts], plan: Plan) -> None:
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


def grouped(ordered: Sequence[Facts], plan: Plan) -> Iterator[list[Facts]]:
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
            if one_orientation(cluster[0].orientation, fact.orientation):
                cluster.append(fact)
                break
        else:
            clusters[fact.key].append([fact])
    for candidates in clusters.values():
        yield from _with_stacks(candidates)


def _with_stacks(candidates: list[list[Facts]]) -> Iterator[list[Facts]]:
    """Join orientations that are single slices: a scout in three planes, a projection that turns, is one object.

    Each orientation is a stack (PS3.3 C.7.6.16.2.2.4). Orientations with several slices are volumes and stay objects
    of their own: dcm2niix, SimpleITK and highdicom make one volume of an object and know one orientation for it. The
    price is theirs too: of such a scout dcm2niix makes nothing and SimpleITK knows the place of the first frame alone,
    but single slices are no volume either way, and viewers page through a projection as one.
    """
    single = [cluster for cluster in candidates if _is_single(cluster)]
    if len(single) < 2:
        yield from candidates
        return
    joined = sorted((fact for cluster in single for fact in cluster), key=frame_order)
    for cluster in candidates:
        if cluster is single[0]:
            yield joined
        elif cluster not in single:
            yield cluster


def _is_single(cluster: list[Facts]) -> bool:
    """Tell whether all frames of an orientation are in one place."""
    distances = distances_along(cluster)
    return max(distances) - min(distances) <= SAME_POSITION
