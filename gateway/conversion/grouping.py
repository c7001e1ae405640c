"""Which instances can share an object, and which have an enhanced twin already (PS3.4 C.3.5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from gateway.conversion.facts import Facts
from gateway.conversion.planned import Plan

# Direction cosines closer than this are one orientation: scanners jitter in the last digits.
SAME_ORIENTATION = 1e-3


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
            if _close(cluster[0].orientation, fact.orientation):
                cluster.append(fact)
                break
        else:
            clusters[fact.key].append([fact])
    for candidates in clusters.values():
        yield from candidates


def _close(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(abs(a - b) < SAME_ORIENTATION for a, b in zip(one, other, strict=True))
